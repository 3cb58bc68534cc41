"""Panel that lists the change of each type's F1 from one loss to another."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hce.figures import marks, style, tables
from hce.figures.comparison import Comparison
from hce.figures.style import MARGIN, ROW, TITLE, WIDTH

_NAMES = 48.5  # width of the types' names, in mm; longer ones take two lines
_GAP = 6.0  # between the two columns
_AXIS = 4.0  # height of the numbers above a column
_STEPS = (0.1, 0.2, 0.5, 1.0)  # between the numbers of an axis
_NUMBER = 5.5  # room for one of them, in mm


@dataclass(frozen=True)
class TypeChanges:
    """The changes of one model's types.

    Attributes:
        credited: rows of `type_changes.tsv`.
        beside: further kind of score → change by cl_id.
        runs: cl_id and change of credited F1, one row per seed.
    """

    credited: pd.DataFrame
    beside: Mapping[str, pd.Series] = field(default_factory=dict)
    runs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["cl_id", "change"]))

    @classmethod
    def of(
        cls,
        comparison: Comparison,
        type_changes: pd.DataFrame,
        per_type: pd.DataFrame,
        model: str,
    ) -> "TypeChanges":
        """The changes on new studies.

        Args:
            comparison: of which losses.
            type_changes: `type_changes.tsv`.
            per_type: `per_type.tsv`: model, loss, seed, set, decoder, cl_id, credited_f1, ….
            model: the model.
        """
        beside = {}
        for kind in marks.BESIDE:
            rows = comparison.changes(type_changes, model, kind=kind)
            if len(rows):
                beside[kind] = rows.set_index("cl_id")["change"]
        rows = per_type[(per_type["set"] == "ood") & (per_type["model"] == model)]
        scores = tables.one_decoder(rows).pivot(
            index=["cl_id", "seed"], columns="loss", values="credited_f1"
        )
        both = scores.reindex(columns=[comparison.baseline, comparison.compared])
        change = (both.iloc[:, 1] - both.iloc[:, 0]).dropna().rename("change").reset_index()
        return cls(comparison.changes(type_changes, model), beside, change)


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


def forest_height(changes: TypeChanges) -> float:
    """Height of `draw_forest` below its title, in mm."""
    if changes.credited.empty:
        return _AXIS + 6 * ROW
    return _AXIS + max(_height(part) for part in _columns(changes.credited))


def draw_forest(figure: Figure, top: float, changes: TypeChanges, absent: str) -> None:
    """Draws the change of every type in two columns, the largest increase first, with a legend.

    Args:
        figure: the figure.
        top: upper edge of the panel's title, in mm.
        changes: of one model.
        absent: the text to show if there are none.
    """
    shown = changes.credited
    if shown.empty:
        below = style.canvas(
            figure, MARGIN, top + TITLE, WIDTH - 2 * MARGIN, forest_height(changes)
        )
        style.say(below, absent)
        return
    span = _span(changes)
    column = (WIDTH - 2 * MARGIN - _GAP) / 2
    for i, part in enumerate(_columns(shown)):
        if len(part):
            left = MARGIN + i * (column + _GAP)
            axes = style.canvas(figure, left, top + TITLE + _AXIS, column, _height(part))
            _forest(axes, part, changes, span)
    handles: list[Artist] = []
    if tested(shown):
        handles += significance_handles(shown)
        handles.append(Line2D([], [], lw=0.7, c=style.UP, label="confidence interval"))
    else:
        style.remark(figure, WIDTH - MARGIN - 30, top - 3, "one seed: no test")
    if len(changes.runs):
        handles.append(
            Line2D([], [], ls="", marker="o", ms=1.5, mew=0, c=style.INK, label="one seed")
        )
    style.legend(figure, MARGIN + 4.5, top, [*handles, *marks.handles(changes.beside)])


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


def _span(changes: TypeChanges) -> tuple[float, float]:
    """The lowest and the highest change of the scale.

    Wide intervals of few seeds are cut, so that the changes remain visible.
    """
    ends = changes.credited[["change", "ci_low", "ci_high"]].to_numpy()
    largest = 1.5 * limit(changes.credited)
    low = max(-largest, min(0.0, np.nanmin(ends)) - 0.05)
    high = min(largest, max(0.0, np.nanmax(ends)) + 0.05)
    others = [change for change in changes.beside.values() if len(change)]
    return (
        min([low, *(float(change.min()) - 0.05 for change in others)]),
        max([high, *(float(change.max()) + 0.05 for change in others)]),
    )


def _lines(label: str) -> list[str]:
    return style.wrap(style.short(label), _NAMES)


def _height(changes: pd.DataFrame) -> float:
    return ROW * sum(len(_lines(label)) for label in changes["label"])


def _columns(changes: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The changes in falling order, divided into two columns of about the same height."""
    ranked = changes.sort_values(["change", "label"], ascending=[False, True])
    ends = np.cumsum([len(_lines(label)) for label in ranked["label"]])
    first = int(np.searchsorted(ends, ends[-1] / 2)) + 1
    return ranked.iloc[:first], ranked.iloc[first:]


def _forest(
    axes: Axes, rows: pd.DataFrame, changes: TypeChanges, span: tuple[float, float]
) -> None:
    """Draws one row per type: its name, the change as a dot, its confidence interval as a line.

    Args:
        axes: a canvas in mm, see `style.canvas`.
        rows: of `changes.credited`, in the order to be drawn.
        changes: has the runs and the further scores.
        span: lowest and highest change that the scale shows.
    """
    width, height = axes.get_xlim()[1], axes.get_ylim()[0]
    low, high = span
    room = width - _NAMES - 2.0

    def x_of(change: Any) -> Any:
        return _NAMES + 2.0 + (change - low) / (high - low) * room

    y, top = {}, 0.0
    for cl_id, label in zip(rows["cl_id"], rows["label"], strict=True):
        lines = _lines(label)
        y[cl_id] = top + ROW * len(lines) / 2
        for i, line in enumerate(lines):
            axes.text(_NAMES, top + ROW * (i + 0.5), line, ha="right", va="center")
        top += ROW * len(lines)
    _scale(axes, (low, high), x_of, height, room)
    at = np.array(list(y.values()))
    colours = [style.DOWN if change < 0 else style.UP for change in rows["change"]]
    ends = (x_of(rows[name].clip(low, high)) for name in ("ci_low", "ci_high"))
    axes.hlines(at, *ends, color=colours, lw=0.7, zorder=3)
    fills = [c if s else "white" for c, s in zip(colours, significant(rows), strict=True)]
    axes.scatter(x_of(rows["change"]), at, s=9, lw=0.7, zorder=5, edgecolors=colours, c=fills)
    own = changes.runs[changes.runs["cl_id"].isin(y)]
    runs = x_of(own["change"].clip(low, high).to_numpy(float))
    axes.scatter(runs, own["cl_id"].map(y).to_numpy(float), s=2.0, c=style.INK, lw=0, zorder=4)
    for kind, change in changes.beside.items():
        here = change[change.index.isin(list(y))]
        heights = [y[cl_id] for cl_id in here.index]
        looks = {"c": "white", "edgecolors": style.MUTED, "lw": 0.4, "zorder": 2}
        marks.mark(axes, x_of(here.to_numpy(float)), heights, kind, 5.0, **looks)


def _scale(axes: Axes, span: tuple[float, float], x_of: Any, height: float, room: float) -> None:
    """Draws vertical lines at round changes, with numbers above."""
    low, high = span
    step = next((step for step in _STEPS if step / (high - low) * room >= _NUMBER), _STEPS[-1])
    line = step / 5 if step == 0.5 else step / 2
    for i in range(int(np.ceil(low / line)), int(np.floor(high / line + 1e-9)) + 1):
        x = x_of(i * line)
        looks: dict[str, Any] = {"c": style.ABSENT, "lw": 0.3, "ls": ":"}
        if i * line % step < 1e-9 or step - i * line % step < 1e-9:
            axes.text(x, -0.6, style.signed(i * line, 1), ha="center", va="bottom")
            looks = {"c": style.ABSENT, "lw": 0.4} if i else {"c": style.INK, "lw": 0.6}
        axes.plot([x, x], [0, height], zorder=1, **looks)
