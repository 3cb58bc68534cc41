"""Tries the models and losses of a run on two cells (rule check_catalogue)."""

from typing import Any

from hce.files import write_tsv
from hce.jobs.job import job
from hce.training.catalogue import try_catalogue

snakemake: Any

with job(snakemake) as log:
    table = try_catalogue(snakemake.params.models, snakemake.params.losses)
    write_tsv(table, snakemake.output[0])
    log.info("%d classes can be built", len(table))
