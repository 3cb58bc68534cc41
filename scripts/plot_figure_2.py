"""Draws Figure 2 (rule figure_2)."""

from typing import Any

from hce.figures.figure_2 import draw_figure_2
from hce.figures.style import save
from hce.files import read_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    figure = draw_figure_2(
        read_tsv(snakemake.input.overall),
        read_tsv(snakemake.input.type_changes),
        read_tsv(snakemake.input.confusion),
        read_tsv(snakemake.input.data_types),
        model=snakemake.params.model,
        root=snakemake.params.subgraph,
        compared=snakemake.params.compared,
        note=snakemake.params.note,
    )
    save(figure, snakemake.output.pdf, snakemake.output.png, snakemake.output.svg)
    log.info("Drew %s.", snakemake.output.pdf)
