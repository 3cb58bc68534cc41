"""Supplementary Figure 8: the change of types and their training data."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import spearmanr

from hce.figures import style
from hce.figures.changes import significance_handles, significant, tested
from hce.figures.comparison import Comparison
from hce.figures.style import MARGIN, TITLE, WIDTH

# Column of data_types.tsv → axis label.
COVERAGE = {
    "train_cells": "training cells (log scale)",
    "train_studies": "training studies",
    "train_tissues": "training tissues",
    "train_assays": "training technologies",
}
_ROW = 46.0  # height of a row of panels, in mm
_FEWEST = 4  # minimum number of types for a rank correlation


def draw_against_coverage(
    overall: pd.DataFrame,
    type_changes: pd.DataFrame,
    data_types: pd.DataFrame,
    compared: str,
    note: str | None = None,
) -> Figure:
    """Draws the change of each type against its training cells, studies, tissues, technologies.

    Args:
        overall: `overall.tsv`.
        type_changes: `type_changes.tsv`.
        data_types: `data_types.tsv` with the columns of `COVERAGE`.
        compared: the loss whose changes are shown, see `Comparison.of`.
        note: a line for the top margin, such as "Simulated data".
    """
    with style.house_style():
        comparison = Comparison.of(overall, type_changes, compared)
        rows = len(comparison.models)
        figure = style.new_figure(MARGIN + rows * _ROW + 4, note)
        coverage = data_types.set_index("cl_id")
        for i, (panel, model) in enumerate(zip("abcdefgh", comparison.models, strict=False)):
            top = MARGIN + i * _ROW
            title = f"Change of credited F1 of each type, OOD ({comparison.difference}, "
            style.letter(figure, panel, f"{title}{style.name(model)})", MARGIN, top)
            changes = comparison.changes(type_changes, model)
            if changes.empty:
                axes = style.place(figure, MARGIN, top + TITLE, WIDTH - 2 * MARGIN, _ROW - TITLE)
                style.say(axes, comparison.why_absent(model))
                continue
            if tested(changes):
                style.legend(figure, MARGIN + 4.5, top, significance_handles(changes))
            else:
                style.remark(figure, MARGIN + 4.5, top, "one seed: no test")
            width, gap = 35.0, 6.5
            for j, column in enumerate(COVERAGE):
                left = MARGIN + 10 + j * (width + gap)
                axes = style.place(figure, left, top + TITLE + 5, width, _ROW - TITLE - 15)
                _draw_panel(axes, changes, coverage[column], j == 0)
        return figure


def _draw_panel(axes: Axes, changes: pd.DataFrame, coverage: pd.Series, first: bool) -> None:
    x = changes["cl_id"].map(coverage).to_numpy(float)
    y = changes["change"].to_numpy(float)
    colours = np.where(y < 0, style.DOWN, style.UP)
    fills = np.where(significant(changes), colours, "white")
    axes.axhline(0, c=style.INK, lw=0.5, zorder=1)
    axes.scatter(x, y, s=8, c=fills, edgecolors=list(colours), lw=0.6, zorder=3)
    if coverage.name == "train_cells":
        style.count_axis(axes, "x", x)
        axes.xaxis.set_major_formatter(lambda value, _: _compact(value))  # panels are narrow
    else:
        room = max(0.05 * np.ptp(x), 0.5)
        axes.set_xlim(x.min() - room, x.max() + room)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlabel(COVERAGE[str(coverage.name)])
    style.change_axis(axes)
    axes.tick_params(axis="y", labelleft=first)
    if first:
        axes.set_ylabel("change of credited F1")
    axes.set_title(_correlation(x, y), fontsize=style.SMALL, loc="left", color=style.MUTED)


def _compact(count: float) -> str:
    """A round count in short form: 20k, 1M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:g}{letter}"
    return f"{count:g}"


def _correlation(x: np.ndarray, y: np.ndarray) -> str:
    if len(x) < _FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return f"no rank correlation (n = {len(x)})"
    rho = float(spearmanr(x, y).statistic)
    return f"Spearman's rho = {style.signed(rho, 2)}, n = {len(x)}"
