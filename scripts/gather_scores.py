"""Puts the score tables of all fits together (rule gather_scores)."""

from typing import Any

from hce.evaluation.scoring import TABLES, gather
from hce.files import write_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    for name in TABLES:
        table = gather(snakemake.input[name], snakemake.params.fits)
        write_tsv(table, snakemake.output[name])
        log.info("%s: %d rows", snakemake.output[name], len(table))
