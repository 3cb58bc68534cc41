"""Draws figures from tables (all rules that are called plot_…)."""

from typing import Any

import pandas as pd

from hce.figures.catalogue import draw_figure
from hce.figures.style import save
from hce.files import read_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    # A table that the run does not make is empty.
    tables = {
        name: read_tsv(path) if path else pd.DataFrame() for name, path in snakemake.input.items()
    }
    for name in snakemake.params.figures:
        figure = draw_figure(name, tables, snakemake.params.options, snakemake.params.note)
        save(figure, *(snakemake.output[f"{name}_{suffix}"] for suffix in ("pdf", "png", "svg")))
        log.info("Drew %s.", name)
