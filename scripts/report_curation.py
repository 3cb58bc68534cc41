"""Puts the counts of every filter into one table (rule report_curation)."""

from typing import Any

from hce.curation import gather_report
from hce.files import write_tsv
from hce.job import job

snakemake: Any

with job(snakemake):
    write_tsv(gather_report(snakemake.input.releases, snakemake.input.parts), snakemake.output[0])
