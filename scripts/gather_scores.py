"""Puts the score tables of all fits together (rules gather_scores and gather_truth)."""

from typing import Any

from hce.evaluation.scoring import gather
from hce.files import write_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    for name, path in snakemake.output.items():
        table = gather(snakemake.input[name], snakemake.params.fits)
        write_tsv(table, path)
        log.info("%s: %d rows", path, len(table))
