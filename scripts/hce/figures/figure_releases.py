"""Figure of later releases: the three scores on the studies that each of them adds."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hce.figures import marks, style, tables
from hce.figures.style import MARGIN, TITLE, WIDTH

_KINDS = ("credited", "study_aware", "exact")
_LEFT = MARGIN + 10.0
_GAP = 5.0
_PANEL = 30.0  # height of a panel, in mm
_ROW = _PANEL + 4.0
_NAMES = 14.0  # height of the names of the sets, which stand upright
_WIDEST = 80.0
# What the new studies of a release hold; its share outside of the types is in %.
_STUDIES, _TYPES = "studies", "types"
_OUTSIDE = "cells outside of the types, %"


def draw_releases(
    overall: pd.DataFrame,
    data_totals: pd.DataFrame,
    report: pd.DataFrame,
    agreement: pd.DataFrame,
    releases: dict[str, str],
    note: str | None = None,
) -> Figure:
    """Draws the macro F1 on held-out cells and on the new studies of each release, by all scores.

    Args:
        overall: `overall.tsv`.
        data_totals: `data_totals.tsv`: set, cells, types, donors, studies, ….
        report: `cells/report.tsv` of the data: release, step, quantity, value.
        agreement: `agreement.tsv`, see `hce.leakage.agreement`; empty where it was not measured.
        releases: evaluation set → release of its cells, in the order to be drawn.
        note: a line for the top margin, such as "Simulated data".
    """
    sets = [name for name in releases if name in set(overall["set"])]
    losses = tables.in_order(overall["loss"])
    models = list(dict.fromkeys(overall["model"]))
    top = MARGIN + TITLE + 9
    with style.house_style():
        below = top + _ROW * len(_KINDS) + _NAMES
        figure = style.new_figure(below + TITLE + _PANEL + _NAMES, note)
        style.letter(figure, "a", "Held-out cells and later releases: macro F1", MARGIN, MARGIN)
        style.legend(figure, MARGIN, MARGIN, style.loss_handles(losses))
        style.legend(figure, MARGIN, MARGIN + 4, _handles(not agreement.empty))
        names = [_words(name, releases[name]) for name in sets]
        for i, kind in enumerate(_KINDS):
            for j, model in enumerate(models):
                axes = _place(figure, j, len(models), top + i * _ROW)
                _draw_scores(axes, overall[overall["model"] == model], sets, losses, kind)
                for at, name in enumerate(sets):
                    ceilings = marks.ceilings(agreement, releases[name])
                    if kind in ceilings:
                        marks.draw_ceiling(axes, ceilings[kind], at - 0.35, at + 0.35)
                _name_sets(axes, names if i == len(_KINDS) - 1 else [""] * len(sets))
                axes.tick_params(axis="y", labelleft=j == 0)
                if i == 0:
                    title = style.name(model)
                    axes.set_title(title, fontsize=style.SMALL, loc="left", weight="bold")
                if j == 0:
                    axes.set_ylabel(f"{marks.WORDS[kind]} macro F1")
        style.letter(figure, "b", "What the sets hold", MARGIN, below)
        held = _what_sets_hold(sets, releases, data_totals, report)
        for j, (quantity, values) in enumerate(held.items()):
            axes = _place(figure, j, len(held.columns), below + TITLE)
            _draw_bars(axes, str(quantity), values.to_numpy(np.float64))
            _name_sets(axes, names)
        return figure


def _place(figure: Figure, column: int, columns: int, top: float) -> Axes:
    width = min((WIDTH - MARGIN - _LEFT - _GAP * (columns - 1)) / columns, _WIDEST)
    return style.place(figure, _LEFT + column * (width + _GAP), top, width, _PANEL)


def _handles(with_ceiling: bool) -> list:
    return [
        style.seed_handle("one seed, all cells", style.INK),
        style.seed_handle("one seed, cells that are not leaky"),
        Line2D([], [], c=style.INK, lw=0.9, label="mean over seeds"),
        *([marks.ceiling_handle()] if with_ceiling else []),
    ]


def _words(name: str, release: str) -> str:
    """The name of a set below a panel."""
    return release if name.startswith("ood") else f"{style.name(name)}\n{release}"


def _name_sets(axes: Axes, names: list[str]) -> None:
    axes.set_xticks(range(len(names)), labels=names, rotation=90)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, max(len(names) - 0.5, 1.5))


def _what_sets_hold(
    sets: list[str], releases: dict[str, str], totals: pd.DataFrame, report: pd.DataFrame
) -> pd.DataFrame:
    """Studies, types and share of the cells of new studies outside of the types, by set; float."""
    held = totals.set_index("set")[[_STUDIES, _TYPES]].reindex(sets).astype(np.float64)
    rows = report[["release", "quantity", "value"]].to_numpy(object)
    values = {(release, quantity): value for release, quantity, value in rows}
    for name in sets:
        keys = [
            (releases[name], quantity) for quantity in ("cells in new studies", f"{name} cells")
        ]
        if name.startswith("ood") and all(key in values for key in keys):
            every, kept = (values[key] for key in keys)
            held.loc[name, _OUTSIDE] = 100 * (1 - kept / every)
    return held


def _draw_scores(
    axes: Axes, overall: pd.DataFrame, sets: list[str], losses: list[str], kind: str
) -> None:
    colours = style.loss_colours(losses)
    offsets = np.linspace(-0.18, 0.18, len(losses)) if len(losses) > 1 else [0.0]
    for loss, offset in zip(losses, offsets, strict=True):
        means = []
        for i, name in enumerate(sets):
            for suffix, face, shift in (("", colours[loss], 0.0), ("_clean", "white", 0.05)):
                rows = tables.scores(overall, name + suffix, f"{kind}_macro_f1")
                values = rows[rows["loss"] == loss]["value"]
                x = np.full(len(values), i + offset + shift)
                axes.scatter(x, values, s=8, c=face, edgecolors=colours[loss], lw=0.6, zorder=3)
                if not suffix:
                    means.append(values.mean())
        axes.plot(np.arange(len(sets)) + offset, means, c=colours[loss], lw=0.9, zorder=2)
    axes.set_ylim(0, 1)


def _draw_bars(axes: Axes, quantity: str, values: np.ndarray) -> None:
    x = np.arange(len(values))
    axes.bar(x, np.nan_to_num(values), width=0.6, color=style.ABSENT)
    for i in np.flatnonzero(~np.isnan(values)):
        text = f"{values[i]:.1f}" if quantity == _OUTSIDE else style.thousands(values[i])
        axes.annotate(text, (x[i], values[i]), (0, 1), textcoords="offset points", ha="center")
    axes.set_ylim(0, 1.15 * max(np.nanmax(values, initial=0), 1))
    axes.set_title(quantity, fontsize=style.SMALL, loc="left")
