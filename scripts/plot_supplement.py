"""Draws supplementary figures (rules plot_supplement and plot_diagnostics)."""

from typing import Any

from hce.figures.style import save
from hce.figures.supplementary import draw_supplement
from hce.files import read_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    tables = {name: read_tsv(path) for name, path in snakemake.input.items()}
    for name in snakemake.params.figures:
        figure = draw_supplement(name, tables, snakemake.params.options, snakemake.params.note)
        save(figure, *(snakemake.output[f"{name}_{suffix}"] for suffix in ("pdf", "png", "svg")))
        log.info("Drew %s.", name)
