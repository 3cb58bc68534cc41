"""Draws the leakage audit (rule plot_audit)."""

from typing import Any

from hce.figures.audit import draw_audit
from hce.figures.style import save
from hce.files import read_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    figure = draw_audit(
        read_tsv(snakemake.input.studies),
        read_tsv(snakemake.input.summary),
        read_tsv(snakemake.input.overall),
        note=snakemake.params.note,
    )
    save(figure, snakemake.output.pdf, snakemake.output.png, snakemake.output.svg)
    log.info("Drew %s.", snakemake.output.pdf)
