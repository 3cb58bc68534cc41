"""Reads what a release says of its cells, genes and datasets (rule read_release)."""

from pathlib import Path
from typing import Any

from hce.census.assays import AssayCounts, warn_left_out
from hce.census.labels import LabelCounts
from hce.census.release import open_release, read_cells, unknown_in, write_release_info
from hce.census.retry import Connection
from hce.files import atomic_path
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    uri = snakemake.input.get("soma") or snakemake.params.uri
    # Not among the params: another proxy or timeout makes no other data.
    connection = Connection(**snakemake.config["data"]["connection"])
    with open_release(snakemake.wildcards.release, uri, connection) as release:
        if unknown := unknown_in(release):
            log.warning("%s", unknown)
        labels, counted, assays = LabelCounts(), AssayCounts(), snakemake.params.assays
        kinds = snakemake.params.tissue_types
        steps = read_cells(release, assays, snakemake.output.cells, kinds, labels, counted)
        log.info("cells after each filter: %s", steps)
        left_out = counted.left_out(assays)
        warn_left_out(left_out, release.name)
        newer = counted.cells_of([a for a in snakemake.params.newer_assays if a not in assays])
        with atomic_path(snakemake.output.labels) as temporary:
            labels.table().to_parquet(temporary, index=False)
        write_release_info(release, steps, Path(snakemake.output.cells).parent, left_out, newer)
