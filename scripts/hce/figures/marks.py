"""What stands beside credited scores: the other scores, and how far two studies agree."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from hce.figures import style, tables

# The other scores are a light second mark, of the same shape everywhere.
SHAPES = {"credited": "o", "study_aware": "D", "exact": "v"}
WORDS = {"credited": "credited", "study_aware": "study-aware", "exact": "exact"}
BESIDE = ("study_aware", "exact")


def scores_beside(
    overall: pd.DataFrame, evaluation_set: str, suffix: str = ""
) -> dict[str, pd.DataFrame]:
    """Kind of score → its macro F1 of every fit, see `tables.scores`; kinds without scores lack.

    Args:
        overall: `overall.tsv`.
        evaluation_set: the set.
        suffix: of the score, such as `_ood_types`.
    """
    found = {
        kind: tables.scores(overall, evaluation_set, f"{kind}_macro_f1{suffix}") for kind in BESIDE
    }
    return {kind: values for kind, values in found.items() if len(values)}


def draw_means(
    axes: Axes, x: float, beside: Mapping[str, pd.DataFrame], model: str, loss: str
) -> None:
    """Draws the mean over seeds of each further score of a model and loss at x."""
    for kind, values in beside.items():
        seeds = values[(values["model"] == model) & (values["loss"] == loss)]["value"]
        if len(seeds):
            mark(axes, [x], [seeds.mean()], kind)


def mark(axes: Axes, x: Any, y: Any, kind: str, size: float = 9.0, **looks: Any) -> None:
    """Draws marks of one kind of score; `size` in points², `looks` as of `Axes.scatter`."""
    given: dict[str, Any] = {"c": "white", "edgecolors": style.INK, "lw": 0.4, "zorder": 4} | looks
    axes.scatter(x, y, s=size, marker=SHAPES[kind], **given)


def ceilings(agreement: pd.DataFrame, release: str) -> dict[str, float]:
    """How far two studies agree on the labels of the same cells, over all types.

    Args:
        agreement: `agreement.tsv`, see `hce.leakage.agreement`; empty where it was not measured.
        release: the release of the cells.

    Returns:
        Kind of score → the agreement by it; empty where it was not measured.
    """
    if agreement.empty:
        return {}
    rows = agreement[(agreement["cl_id"] == "all") & (agreement["release"] == release)]
    return {kind: float(value) for kind in SHAPES for value in rows[f"{kind}_f1"]}


def draw_ceiling(axes: Axes, height: float, left: float, right: float) -> None:
    """Draws one of the `ceilings` as a line from left to right."""
    axes.hlines(height, left, right, color=style.MUTED, lw=0.9, ls=":", zorder=1)


def ceiling_handle() -> Artist:
    """Legend entry of `draw_ceiling`."""
    return Line2D([], [], c=style.MUTED, lw=0.9, ls=":", label="agreement of two studies")


def handles(kinds: Iterable[str], words: str = "") -> list[Artist]:
    """Legend entries of the marks, `words` after the name of each score."""
    return [
        Line2D(
            [], [], ls="", marker=SHAPES[kind], ms=3, mfc="white", mec=style.INK, mew=0.4,
            label=WORDS[kind] + words,
        )
        for kind in kinds
    ]  # fmt: skip
