"""Chooses the cells of a newer release's new studies (rule select_new_studies)."""

from pathlib import Path
from typing import Any

from hce.curation.cells import read_release_cells, read_studies
from hce.curation.select import select_new_studies
from hce.files import atomic_path, write_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy

snakemake: Any

with job(snakemake) as log:
    cells, report = select_new_studies(
        read_release_cells(snakemake.input.cells),
        read_studies(snakemake.input.known),
        Hierarchy.load(Path(snakemake.input.hierarchy).parent).labels,
        snakemake.params.set,
    )
    for row in report.itertuples():
        log.info("%s: %d", row.quantity, row.value)
    with atomic_path(snakemake.output.cells) as temporary:
        cells.to_parquet(temporary, index=False)
    write_tsv(report, snakemake.output.report)
