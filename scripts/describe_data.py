"""Counts what the data of a run hold (rule describe_data)."""

from pathlib import Path
from typing import Any

from hce.curation.data_summary import describe
from hce.files import read_parquet, write_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy

snakemake: Any

with job(snakemake) as log:
    tables = describe(
        snakemake.input.cells,
        read_parquet(snakemake.input.types),
        Hierarchy.load(Path(snakemake.input.hierarchy).parent).types,
    )
    for name, table in tables.items():
        write_tsv(table, snakemake.output[name])
        log.info("%s: %d rows", snakemake.output[name], len(table))
