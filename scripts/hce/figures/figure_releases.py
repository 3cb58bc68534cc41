"""Figure of later releases: scores on the studies that each of them adds."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hce.figures import style, tables
from hce.figures.bars import F1
from hce.figures.style import MARGIN, TITLE, WIDTH

_HEIGHT = 74.0
_SCORE = "credited_macro_f1"


def draw_releases(
    overall: pd.DataFrame,
    data_totals: pd.DataFrame,
    releases: dict[str, str],
    note: str | None = None,
) -> Figure:
    """Draws the credited macro F1 on held-out cells and on the new studies of each release.

    Args:
        overall: `overall.tsv`.
        data_totals: `data_totals.tsv`: set, cells, types, donors, studies, ….
        releases: evaluation set → release of its cells, in the order to be drawn.
        note: a line for the top margin, such as "Simulated data".
    """
    sets = [name for name in releases if name in set(overall["set"])]
    losses = tables.in_order(overall["loss"])
    models = list(dict.fromkeys(overall["model"]))
    with style.house_style():
        figure = style.new_figure(_HEIGHT, note)
        style.letter(figure, "", f"Held-out cells and later releases: {F1}", MARGIN, MARGIN)
        handles = [*style.loss_handles(losses)]
        handles.append(style.seed_handle("one seed, all cells", style.INK))
        handles.append(style.seed_handle("one seed, cells that are not leaky"))
        handles.append(Line2D([], [], c=style.INK, lw=0.9, label="mean over seeds"))
        style.legend(figure, MARGIN, MARGIN, handles)
        left, gap = MARGIN + 10, 5.0
        width = min((WIDTH - MARGIN - left - gap * (len(models) - 1)) / len(models), 80.0)
        ticks = [_words(name, releases[name], data_totals) for name in sets]
        for j, model in enumerate(models):
            axes = style.place(figure, left + j * (width + gap), MARGIN + TITLE + 5, width, 40)
            _draw_model(axes, overall[overall["model"] == model], sets, losses)
            axes.set_xticks(range(len(sets)), labels=ticks)
            axes.set_title(style.name(model), fontsize=style.SMALL, loc="left", weight="bold")
            axes.tick_params(axis="x", length=0)
            axes.tick_params(axis="y", labelleft=j == 0)
            if j == 0:
                axes.set_ylabel(F1)
        return figure


def _words(name: str, release: str, totals: pd.DataFrame) -> str:
    """The label below a set: its release, types and studies."""
    kind = style.name("ood" if name.startswith("ood") else name)
    row = totals[totals["set"] == name]
    if row.empty:
        return f"{kind}\n{release}"
    return f"{kind}\n{release}\n{row['types'].iloc[0]} types\n{row['studies'].iloc[0]} studies"


def _draw_model(axes: Axes, overall: pd.DataFrame, sets: list[str], losses: list[str]) -> None:
    colours = style.loss_colours(losses)
    offsets = np.linspace(-0.18, 0.18, len(losses)) if len(losses) > 1 else [0.0]
    for loss, offset in zip(losses, offsets, strict=True):
        means = []
        for i, name in enumerate(sets):
            for suffix, face, shift in (("", colours[loss], 0.0), ("_clean", "white", 0.05)):
                rows = tables.scores(overall, name + suffix, _SCORE)
                values = rows[rows["loss"] == loss]["value"]
                x = np.full(len(values), i + offset + shift)
                axes.scatter(x, values, s=8, c=face, edgecolors=colours[loss], lw=0.6, zorder=3)
                if not suffix:
                    means.append(values.mean())
        axes.plot(np.arange(len(sets)) + offset, means, c=colours[loss], lw=0.9, zorder=2)
    axes.set(xlim=(-0.5, max(len(sets) - 0.5, 1.5)), ylim=(0, 1))
