"""Draws Figure 1 (rule plot_figure_1)."""

from typing import Any

from hce.figures.figure_1 import draw_figure_1
from hce.figures.style import save
from hce.files import read_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    figure = draw_figure_1(
        read_tsv(snakemake.input.overall),
        read_tsv(snakemake.input.data_totals),
        read_tsv(snakemake.input.data_tissues),
        read_tsv(snakemake.input.data_types),
        read_tsv(snakemake.input.models),
        note=snakemake.params.note,
    )
    save(figure, snakemake.output.pdf, snakemake.output.png, snakemake.output.svg)
    log.info("Drew %s.", snakemake.output.pdf)
