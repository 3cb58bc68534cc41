"""Draws coverage and correctness of the back-off (rule plot_coverage)."""

from typing import Any

from hce.figures.coverage import draw_coverage
from hce.figures.style import save
from hce.files import read_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    figure = draw_coverage(
        read_tsv(snakemake.input.coverage),
        read_tsv(snakemake.input.promises),
        read_tsv(snakemake.input.promise_types),
        model=snakemake.params.model,
        compared=snakemake.params.compared,
        note=snakemake.params.note,
    )
    save(figure, snakemake.output.pdf, snakemake.output.png, snakemake.output.svg)
    log.info("Drew %s.", snakemake.output.pdf)
