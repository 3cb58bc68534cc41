"""What cannot be had together: study-aware against exact scores of all losses and decoders."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hce.figures import style, tables
from hce.figures.style import MARGIN, TITLE, WIDTH

_SETS = ("ood", "id")
_LEFT = MARGIN + 10.0
_TOP = MARGIN + TITLE + 5.0
_GAP = 8.0
_PANEL = 42.0  # height of a panel, in mm
_ROW = _PANEL + 13.0
_WIDEST = 60.0


def draw_frontier(overall: pd.DataFrame, note: str | None = None) -> Figure:
    """Draws a point per loss and decoder, mean over seeds, by set (rows) and model (columns).

    Args:
        overall: `overall.tsv`: model, loss, seed, set, decoder, score, value.
        note: a line for the top margin, such as "Simulated data".
    """
    points = _points(overall)
    sets = [name for name in _SETS if name in set(points["set"])]
    with style.house_style():
        if not sets:
            return style.empty_figure("The run has no study-aware scores of ID or OOD cells.", note)
        models = list(dict.fromkeys(points["model"]))
        losses = tables.in_order(points["loss"])
        shapes = style.decoder_shapes(points["decoder"])
        figure = style.new_figure(_TOP + _ROW * len(sets) + 2, note)
        title = "Study-aware against exact macro F1, every loss with every decoder"
        style.letter(figure, "", title, MARGIN, MARGIN)
        line = Line2D([], [], c=style.RULE, lw=0.8, label="no other is better in both")
        style.legend(figure, MARGIN, MARGIN, [*style.loss_handles(losses), line])
        style.legend(figure, MARGIN, MARGIN + 4, style.decoder_handles(shapes))
        width = min((WIDTH - MARGIN - _LEFT - _GAP * (len(models) - 1)) / len(models), _WIDEST)
        for i, name in enumerate(sets):
            for j, model in enumerate(models):
                left = _LEFT + j * (width + _GAP)
                axes = style.place(figure, left, _TOP + i * _ROW + 4, width, _PANEL)
                of_panel = points[(points["set"] == name) & (points["model"] == model)]
                _draw_points(axes, of_panel, style.loss_colours(losses), shapes)
                words = f"{style.name(model)}, {style.name(name)}"
                axes.set_title(words, fontsize=style.SMALL, loc="left", weight="bold")
                axes.set_xlabel("exact macro F1" if i == len(sets) - 1 else "")
                axes.set_ylabel("study-aware macro F1" if j == 0 else "")
        return figure


def _points(overall: pd.DataFrame) -> pd.DataFrame:
    """model, set, loss, decoder, exact and study_aware, means over seeds."""
    scores = {f"{kind}_macro_f1": kind for kind in ("exact", "study_aware")}
    rows = overall[overall["score"].isin(scores) & overall["set"].isin(_SETS)]
    keys = ["model", "set", "loss", "decoder"]
    means = rows.groupby([*keys, "score"], sort=False)["value"].mean().unstack()
    return (
        means.rename(columns=scores).reindex(columns=list(scores.values())).dropna().reset_index()
    )


def best(points: pd.DataFrame) -> pd.DataFrame:
    """The points that no other one beats in one score without losing in the other.

    Args:
        points: columns exact and study_aware.

    Returns:
        Those rows, by rising exact score.
    """
    ranked = points.sort_values(["exact", "study_aware"], ascending=False)
    highest = np.maximum.accumulate([-np.inf, *ranked["study_aware"]])[:-1]
    return ranked[ranked["study_aware"] > highest].iloc[::-1]


def _draw_points(
    axes: Axes, points: pd.DataFrame, colours: dict[str, str], shapes: dict[str, str]
) -> None:
    if points.empty:
        style.say(axes, "no fits")
        return
    line = best(points)
    axes.plot(line["exact"], line["study_aware"], c=style.RULE, lw=0.8, zorder=1)
    for row in points.to_dict("records"):
        looks: dict[str, Any] = {"marker": shapes[row["decoder"]], "c": colours[row["loss"]]}
        axes.scatter(row["exact"], row["study_aware"], s=14, alpha=0.85, lw=0, zorder=3, **looks)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.margins(0.08)
