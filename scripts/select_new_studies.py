"""Chooses the cells of a newer release's new studies (rule select_new_studies)."""

from pathlib import Path
from typing import Any

import pandas as pd

from hce.census.release import positions_of_genes
from hce.curation.cells import read_release_cells, read_studies
from hce.curation.select import select_new_studies
from hce.files import atomic_path, read_parquet, write_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy

snakemake: Any

with job(snakemake) as log:
    known = read_studies(snakemake.input.known)
    cells, report = select_new_studies(
        read_release_cells(snakemake.input.cells, without=known),
        known,
        Hierarchy.load(Path(snakemake.input.hierarchy).parent).types,
        snakemake.params.set,
        snakemake.params.match,
    )
    genes = read_parquet(snakemake.input.genes)
    positions = positions_of_genes(
        genes,
        read_parquet(snakemake.input.release_genes),
        snakemake.wildcards.release,
        snakemake.config["data"]["min_genes"],
    )
    found = int((positions >= 0).sum())
    steps = [("genes found", found), ("genes missing", len(genes) - found)]
    report = pd.concat([report, pd.DataFrame(steps, columns=report.columns)])
    for row in report.itertuples():
        log.info("%s: %d", row.quantity, row.value)
    with atomic_path(snakemake.output.cells) as temporary:
        cells.to_parquet(temporary, index=False)
    write_tsv(report, snakemake.output.report)
