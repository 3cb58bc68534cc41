"""Divides the gain of a loss between loss and decoder (rule divide_gain)."""

from typing import Any

from hce.evaluation.factorial import divide_gain
from hce.files import read_parquet, read_tsv, write_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    table = divide_gain(
        read_tsv(snakemake.input.per_type),
        read_parquet(snakemake.input.hierarchy),
        snakemake.params.baseline,
        snakemake.params.compared,
    )
    write_tsv(table, snakemake.output[0])
    if table["share_of_gain"].isna().all():
        log.warning(
            "no share is known: it takes %s and %s with the decoder argmax, and a gain",
            *(snakemake.params.baseline, snakemake.params.compared),
        )
