"""Reads the genes of a release and nothing else of it (rule read_genes)."""

from typing import Any

from hce.census.release import open_release, read_genes
from hce.census.retry import Connection
from hce.files import atomic_path
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    params = snakemake.params
    connection = Connection(**snakemake.config["data"]["connection"])
    with open_release(params.release, params.uri, connection) as release:
        genes = read_genes(release)
    with atomic_path(snakemake.output[0]) as temporary:
        genes.to_parquet(temporary, index=False)
    log.info("%d genes", len(genes))
