"""Supplementary Figures 5 and 6: the change of types by their place in the hierarchy."""

from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hce.figures import style
from hce.figures.changes import significance_handles, significant, tested
from hce.figures.comparison import Comparison
from hce.figures.style import MARGIN, TITLE, WIDTH

_HEIGHT = 84.0
# Column of data_types.tsv → (value as text, label) of the two groups.
_GROUPS = {
    "kind": (("internal", "internal"), ("leaf", "leaf")),
    "connected": (("true", "connected"), ("false", "isolated")),
}
_BIN = 0.02  # changes closer than this are placed side by side


def draw_by_kind(
    overall: pd.DataFrame,
    type_changes: pd.DataFrame,
    data_types: pd.DataFrame,
    column: Literal["kind", "connected"],
    compared: str,
    note: str | None = None,
) -> Figure:
    """Draws the credited F1 of two groups of types with both losses, and each type's change.

    Args:
        overall: `overall.tsv`.
        type_changes: `type_changes.tsv`.
        data_types: `data_types.tsv`: cl_id, kind (leaf, internal), connected, ….
        column: kind or connected, the column that divides the types.
        compared: the loss whose changes are shown, see `Comparison.of`.
        note: a line for the top margin, such as "Simulated data".
    """
    with style.house_style():
        comparison = Comparison.of(overall, type_changes, compared)
        group = data_types.set_index("cl_id")[column].astype(str).str.lower()
        parts = []
        for model in comparison.models:
            rows = comparison.changes(type_changes, model)
            parts.append(rows.assign(group=rows["cl_id"].map(group)))
        changes = pd.concat(parts)
        if changes.empty:
            return style.empty_figure(comparison.why_absent(comparison.models[0]), note)
        figure = style.new_figure(_HEIGHT, note)
        top, height = MARGIN + TITLE + 2, _HEIGHT - MARGIN - TITLE - 14
        style.letter(figure, "a", "Mean credited F1 of the types, OOD", MARGIN, MARGIN)
        style.legend(figure, MARGIN + 4.5, MARGIN, style.loss_handles(comparison.pair))
        axes = style.place(figure, MARGIN + 9, top, 66, height)
        _draw_means(axes, changes, comparison, column)
        left = 95.0
        title = f"Change of each type's credited F1, OOD ({comparison.difference}); bars, means"
        style.letter(figure, "b", title, left - 9, MARGIN)
        axes = style.place(figure, left, top, WIDTH - MARGIN - left, height)
        _draw_changes(axes, changes, comparison, column)
        if tested(changes):
            style.legend(figure, left - 4.5, MARGIN, significance_handles(changes))
        else:
            style.remark(figure, left - 4.5, MARGIN, "one seed: no test")
        return figure


def _groups(changes: pd.DataFrame, comparison: Comparison, column: str) -> list[pd.DataFrame]:
    """The changes of each model and group, in the order of the axis."""
    return [
        changes[(changes["model"] == model) & (changes["group"] == value)]
        for model in comparison.models
        for value, _ in _GROUPS[column]
    ]


def _set_axis(
    axes: Axes, changes: pd.DataFrame, comparison: Comparison, column: str
) -> list[float]:
    """Labels groups and models below the axis, with the number of types; returns positions."""
    at = [2.1 * i + j for i in range(len(comparison.models)) for j in range(2)]
    counts = [len(rows) for rows in _groups(changes, comparison, column)]
    words = [text for _ in comparison.models for _, text in _GROUPS[column]]
    axes.set_xticks(at, labels=[f"{w}\nn = {n}" for w, n in zip(words, counts, strict=True)])
    axes.tick_params(axis="x", length=0)
    middle, half = (at[0] + at[-1]) / 2, max(at[-1] - at[0], 4) / 2 + 0.55
    axes.set_xlim(middle - half, middle + half)
    for i, model in enumerate(comparison.models):
        axes.annotate(
            style.name(model),
            (2.1 * i + 0.5, 0),
            (0, -18),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            va="top",
            fontweight="bold",
        )
    return at


def _draw_means(axes: Axes, changes: pd.DataFrame, comparison: Comparison, column: str) -> None:
    at = _set_axis(axes, changes, comparison, column)
    colours = style.loss_colours(comparison.pair)
    for x, rows in zip(at, _groups(changes, comparison, column), strict=True):
        if rows.empty:
            continue
        ends = [rows["baseline_f1"].mean(), rows["f1"].mean()]
        axes.plot([x, x], ends, c=style.RULE, lw=1, zorder=1)
        axes.scatter([x, x], ends, s=16, c=list(colours.values()), zorder=2, lw=0)
        for value in ends:
            low = value == min(ends)
            axes.annotate(
                f"{value:.2f}", (x, value), (0, -4 if low else 4), textcoords="offset points",
                ha="center", va="top" if low else "bottom",
            )  # fmt: skip
    axes.set(ylim=(0, 1), ylabel="mean credited F1")


def _draw_changes(axes: Axes, changes: pd.DataFrame, comparison: Comparison, column: str) -> None:
    at = _set_axis(axes, changes, comparison, column)
    axes.axhline(0, c=style.INK, lw=0.5, zorder=1)
    for x, rows in zip(at, _groups(changes, comparison, column), strict=True):
        if rows.empty:
            continue
        values = rows["change"].to_numpy(float)
        colours = np.where(values < 0, style.DOWN, style.UP)
        fills = np.where(significant(rows), colours, "white")
        axes.scatter(
            x + _swarm(values), values, s=8, c=fills, edgecolors=list(colours), lw=0.6, zorder=3
        )
        axes.plot([x - 0.3, x + 0.3], [values.mean()] * 2, c=style.INK, lw=1.2, zorder=4)
    axes.set_ylabel("change of credited F1")
    style.change_axis(axes)


def _swarm(values: np.ndarray) -> np.ndarray:
    """Offsets that place close values side by side, within ±0.35."""
    bins = np.round(values / _BIN).astype(int)
    offsets = np.zeros(len(values))
    fullest = np.unique(bins, return_counts=True)[1].max()
    step = min(0.12, 0.7 / max(fullest - 1, 1))
    for value in np.unique(bins):
        members = np.flatnonzero(bins == value)
        offsets[members] = step * (np.arange(len(members)) - (len(members) - 1) / 2)
    return offsets
