"""Unpacks the published scTab store (rule unpack_sctab)."""

from typing import Any

from hce.jobs.job import job
from hce.sources.sctab_unpack import unpack

snakemake: Any

with job(snakemake):
    unpack(snakemake.input[0], snakemake.output[0])
