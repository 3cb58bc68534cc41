"""Panel that lists the change of each type's credited F1 from one loss to another."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hce.figures import style
from hce.figures.style import MARGIN, ROW, TITLE, WIDTH

_NAMES = 52.0  # width of the types' names, in mm


def significant(changes: pd.DataFrame) -> pd.Series:
    """Which changes are significant, as booleans; the column can be text or missing."""
    return changes["significant"].astype(str).str.lower().isin(["true", "1", "1.0"])


def tested(changes: pd.DataFrame) -> bool:
    """Whether there were enough runs for a test."""
    return bool(changes["p"].notna().any())


def limit(changes: pd.DataFrame) -> float:
    """A symmetric limit for the scale of changes: the largest one, rounded up to 0.1."""
    largest = changes["change"].abs().max() if len(changes) else 0.0
    return max(0.1, float(np.ceil(largest * 10) / 10))


def forest_height(changes: pd.DataFrame) -> float:
    """Height of `draw_forest` below its title, in mm."""
    return 4.0 + ROW * max(int(np.ceil(len(changes) / 2)), 6)


def draw_forest(figure: Figure, top: float, changes: pd.DataFrame, absent: str) -> None:
    """Draws the change of every type in two columns, the largest increase first, with a legend.

    Args:
        figure: the figure.
        top: upper edge of the panel's title, in mm.
        changes: rows of `type_changes.tsv` of one model and loss.
        absent: the text to show if there are none.
    """
    if changes.empty:
        below = style.canvas(
            figure, MARGIN, top + TITLE, WIDTH - 2 * MARGIN, forest_height(changes)
        )
        style.say(below, absent)
        return
    ranked = changes.sort_values(["change", "label"], ascending=[False, True])
    ends = ranked[["change", "ci_low", "ci_high"]].to_numpy()
    # Wide intervals of few seeds are cut, so that the changes remain visible.
    largest = 1.5 * limit(ranked)
    span = (
        max(-largest, min(0.0, np.nanmin(ends)) - 0.05),
        min(largest, max(0.0, np.nanmax(ends)) + 0.05),
    )
    half = int(np.ceil(len(ranked) / 2))
    column = (WIDTH - 2 * MARGIN - 6) / 2
    for i, part in enumerate((ranked.iloc[:half], ranked.iloc[half:])):
        if len(part):
            left = MARGIN + i * (column + 6)
            axes = style.canvas(figure, left, top + TITLE + 4, column, ROW * len(part))
            _forest(axes, part, _NAMES, span)
    if tested(ranked):
        handles = significance_handles(ranked)
        handles.append(Line2D([], [], lw=0.7, c=style.UP, label="confidence interval"))
        style.legend(figure, MARGIN + 4.5, top, handles)
    else:
        style.remark(figure, MARGIN + 4.5, top, "one seed: no test")


def significance_handles(changes: pd.DataFrame) -> list[Line2D]:
    """Legend entries for filled (significant) and open dots, with the number of the former."""
    count = f"{significant(changes).sum()} of {len(changes)}"
    texts = {
        style.UP: f"significant: {count} (paired t-test, Holm–Bonferroni)",
        "white": "not significant",
    }
    return [
        Line2D([], [], ls="", marker="o", ms=3, mew=0.7, mec=style.UP, mfc=fill, label=text)
        for fill, text in texts.items()
    ]


def _forest(axes: Axes, changes: pd.DataFrame, names: float, span: tuple[float, float]) -> None:
    """Draws one row per type: its name, the change as a dot, its confidence interval as a line.

    Args:
        axes: a canvas in mm with a height of `style.ROW` per type, see `style.canvas`.
        changes: rows of `type_changes.tsv` of one model and loss, in the order to be drawn.
        names: width of the names, in mm.
        span: lowest and highest change that the scale shows.
    """
    width, height = axes.get_xlim()[1], axes.get_ylim()[0]
    low, high = span

    def x_of(change: Any) -> Any:
        return names + 2.0 + (change - low) / (high - low) * (width - names - 2.0)

    y = style.ROW * (np.arange(len(changes)) + 0.5)
    step = 0.5 if high - low > 1.0 else 0.2
    for tick in np.arange(np.ceil(low / step), np.floor(high / step + 1e-9) + 1) * step:
        zero = abs(tick) < 1e-9
        axes.plot(
            [x_of(tick)] * 2,
            [0, height],
            c=style.INK if zero else style.ABSENT,
            lw=0.6 if zero else 0.35,
            zorder=1,
        )
        axes.text(x_of(tick), -0.6, style.signed(tick, 1), ha="center", va="bottom")
    colours = [style.DOWN if change < 0 else style.UP for change in changes["change"]]
    axes.hlines(
        y,
        x_of(changes["ci_low"].clip(low, high)),
        x_of(changes["ci_high"].clip(low, high)),
        color=colours,
        lw=0.7,
        zorder=2,
    )
    fills = [c if s else "white" for c, s in zip(colours, significant(changes), strict=True)]
    axes.scatter(x_of(changes["change"]), y, s=9, lw=0.7, zorder=3, edgecolors=colours, c=fills)
    for label, line in zip(changes["label"], y, strict=True):
        axes.text(names, line, style.fit(style.short(label), names), ha="right", va="center")
