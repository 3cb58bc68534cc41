"""Labels the training release's cells and divides them (rule split_reference)."""

from pathlib import Path
from typing import Any

from hce.curation.cells import read_release_cells
from hce.curation.class_weights import describe_types
from hce.curation.split import split_reference
from hce.files import atomic_path, write_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy

snakemake: Any

with job(snakemake) as log:
    hierarchy = Hierarchy.load(Path(snakemake.input.hierarchy).parent)
    release_cells = read_release_cells(snakemake.input.cells)
    split = split_reference(release_cells, hierarchy.labels, snakemake.params.split)
    for row in split.report.itertuples():
        log.info("%s: %d", row.quantity, row.value)
    with atomic_path(snakemake.output.cells) as temporary:
        split.cells.to_parquet(temporary, index=False)
    with atomic_path(snakemake.output.types) as temporary:
        describe_types(hierarchy.types, split).to_parquet(temporary, index=False)
    write_tsv(split.report, snakemake.output.report)
