"""Pictures on the page of an annotated file: embedding, clusters, depth, novelty and markers."""

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from hce.figures import style

# Types with colours of their own; the others share one.
COLOURS = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#7b5aa6", "#a6761d"),
    *("#8fb339", "#b2182b", "#1b7f8c", "#f28fad"),
)
MARGIN, GAP = style.MARGIN, 8.0
MAP_SIZE = 75.0  # of an embedding, in mm
LEGEND_COLUMNS = 3
# A name on the map needs this part of its width and height for itself.
ROOM = (0.3, 0.04)
NAME_WIDTH = 30.0
# Answers with a smaller share have no name on the map and no column among the clusters.
SELDOM = 0.01
HEATMAP = "YlGnBu"


def inline_svg(figure: Figure) -> str:
    """The figure as an element of a page; the same figure gives the same text."""
    held = io.StringIO()
    with style.house_style():
        figure.savefig(held, format="svg", dpi=200, metadata={"Date": None})
    text = held.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    return re.sub(r'width="[^"]*pt" height="[^"]*pt" ', "", text, count=1)


def colours_of(names: Sequence[str], unknown: str) -> dict[str, str]:
    """A colour for each type, the most frequent first, and grey for cells without an answer."""
    known = [name for name in names if name != unknown]
    found = dict(zip(known, [*COLOURS, *[style.RULE] * len(known)], strict=False))
    return found | {unknown: style.ABSENT}


def embedding(places: np.ndarray, answers: pd.Series, novelty: pd.Series, unknown: str) -> Figure:
    """Two maps of the same cells: by answer, with names, and by novelty.

    Args:
        places: float (n, 2).
        answers: of each cell.
        novelty: of each cell; NaN where it is not known.
        unknown: what cells without an answer are called.
    """
    colours = colours_of(answers.value_counts().index.tolist(), unknown)
    legend = 3.2 * -(-len(colours) // LEGEND_COLUMNS)
    figure = style.new_figure(MAP_SIZE + 12 + legend, None)
    left, right = (
        style.place(figure, MARGIN + at * (MAP_SIZE + GAP), 8, MAP_SIZE, MAP_SIZE) for at in (0, 1)
    )
    size = float(np.clip(6000 / len(places), 0.3, 6))
    points: dict[str, Any] = {"s": size, "lw": 0, "rasterized": True}
    left.scatter(places[:, 0], places[:, 1], c=answers.map(colours).tolist(), **points)
    shares = answers.value_counts(normalize=True)
    frequent = [name for name in colours if name != unknown and shares[name] > SELDOM]
    _write_names(left, places, answers, frequent)
    handles = [Patch(fc=colour, label=style.short(name)) for name, colour in colours.items()]
    figure.legend(
        handles=handles,
        loc="lower left",
        ncols=LEGEND_COLUMNS,
        bbox_to_anchor=(MARGIN / style.WIDTH, 0.01),
        handlelength=1,
    )
    style.letter(figure, "a", "Answer of the back-off (grey: unknown)", MARGIN, 2)
    if novelty.notna().any():
        order = np.argsort(novelty.fillna(-np.inf).to_numpy(), kind="stable")
        x, y, colour = places[order, 0], places[order, 1], novelty.to_numpy()[order]
        shown = right.scatter(x, y, c=colour, cmap="cividis_r", **points)
        bar = style.place(figure, MARGIN + 2 * MAP_SIZE + GAP + 1, 26, 2.5, 40)
        figure.colorbar(shown, cax=bar).set_label("nats per count")
        style.letter(figure, "b", "Novelty", MARGIN + MAP_SIZE + GAP, 2)
    else:
        style.say(right, "This model does not know the novelty of cells,\nor too few genes do.")
    for axes in (left, right):
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return figure


def _write_names(axes: Axes, places: np.ndarray, answers: pd.Series, names: Sequence[str]) -> None:
    """Writes names in the middle of their cells, those that come first where there is room."""
    halo = [withStroke(linewidth=1.6, foreground="white")]
    room, taken = np.array(ROOM) * np.ptp(places, axis=0), np.empty((0, 2))
    for name in names:
        at = np.median(places[(answers == name).to_numpy()], axis=0)
        if (np.abs(taken - at) > room).any(axis=1).all():
            taken = np.vstack([taken, at])
            text = style.fit(style.short(name), NAME_WIDTH)
            axes.text(at[0], at[1], text, ha="center", va="center", path_effects=halo)


def clusters(shares: pd.DataFrame) -> Figure:
    """Which share of each cluster (row) got each answer (column)."""
    shares = shares.loc[:, (shares > SELDOM).any()]
    names = [style.short(str(name)) for name in shares.columns]
    below = max(map(style.text_width, names)) + 4
    beside = min(max(style.text_width(str(name)) for name in shares.index) + 3, 60)
    cell = min(7.0, (style.WIDTH - beside - 2 * MARGIN - 20) / len(names))
    height = cell * len(shares)
    figure = style.new_figure(height + below + 10, None)
    axes = style.place(figure, MARGIN + beside, 4, cell * len(names), height)
    drawn = axes.imshow(shares.to_numpy(), cmap=HEATMAP, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(shares)), [style.fit(str(n), beside - 2) for n in shares.index])
    axes.tick_params(length=0)
    for (row, column), value in np.ndenumerate(shares.to_numpy()):
        if value >= 0.005 and cell >= 5:
            ink = style.ink_on("#081d58" if value > 0.6 else "white")
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color=ink)
    bar = style.place(figure, MARGIN + beside + cell * len(names) + 4, 4, 2.5, min(height, 30))
    figure.colorbar(drawn, cax=bar, format=lambda v, _: f"{100 * v:.0f}%")
    return figure


def depth_and_novelty(
    depths: pd.Series, novelty: pd.Series, threshold: float | None, n_cells: int
) -> Figure:
    """How deep the answers are, and how new the cells.

    Args:
        depths: depth of each answer, cells without an answer left out.
        novelty: of each cell; NaN where it is not known.
        threshold: above which a cell is novel; None where that is not known.
        n_cells: number of cells, with and without an answer.
    """
    figure = style.new_figure(52, None)
    left = style.place(figure, 14, 9, 68, 32)
    counts = depths.value_counts()
    left.bar(counts.index, 100 * counts / n_cells, width=0.8, color="#56b4e9")
    left.bar([-1], [100 * (1 - len(depths) / n_cells)], width=0.8, color=style.RULE)
    ticks = sorted({0, *np.arange(0, int(depths.max() if len(depths) else 0) + 1, 4)})
    left.set_xticks([-1, *ticks[1:]], ["unknown", *map(str, ticks[1:])])
    left.set(xlabel="terms above the answer in the ontology", ylabel="cells (%)")
    style.letter(figure, "a", "Depth of the answers", MARGIN, 2)
    right = style.place(figure, 104, 9, 68, 32)
    if novelty.notna().any() and threshold is not None:
        right.hist(novelty.dropna(), bins=60, color="#56b4e9")
        right.axvline(threshold, color=style.DOWN, lw=0.8, ls="--")
        side = "right" if novelty.max() > threshold + 0.3 * np.ptp(novelty.dropna()) else "left"
        words = " novel" if side == "right" else "novel above "
        place = right.get_xaxis_transform()
        align = "left" if side == "right" else "right"
        right.text(threshold, 0.97, words, color=style.DOWN, va="top", transform=place, ha=align)
        right.set(xlabel="novelty (nats per count)", ylabel="cells")
        style.letter(figure, "b", "Novelty", 94, 2)
    else:
        style.say(right, "The novelty of the cells is not known.")
    return figure


def markers(table: pd.DataFrame) -> Figure:
    """Marker genes in the cells that are called a type, and in the training cells.

    Args:
        table: type, gene, and counts per 10,000 found in the cells that are called the type,
            expected from training cells of the type, and elsewhere, in those of other types;
            agrees: whether what was found is nearer to what was expected. The genes of a type
            stand one after another.
    """
    row, space, top = style.ROW + 0.5, 1.6, 3.0
    groups = table.groupby("type", sort=False)
    y = np.arange(len(table)) * row + groups.ngroup().to_numpy() * space
    height = y[-1] + row
    figure = style.new_figure(height + top + 11, None)
    axes = style.place(figure, 82, top, 90, height)
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    for at, values in zip(y, table.to_dict("records"), strict=True):
        ends = [values["elsewhere"], values["expected"]]
        axes.plot(ends, [at, at], color=style.RULE, lw=0.8, zorder=1)
        axes.plot(ends[1:], [at], color=style.MUTED, marker="|", ms=5, mew=1.5, zorder=1)
        colour = style.UP if values["agrees"] else style.DOWN
        axes.scatter(values["found"], at, s=9, color=colour, zorder=3)
    axes.set(ylim=(height - row / 2, -row / 2), xlabel="mean counts per 10,000", xlim=(0, None))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yticks(y, table["gene"])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", lw=0.3, color=style.RULE)
    axes.set_axisbelow(True)
    for name, own in groups.indices.items():
        axes.annotate(
            style.fit(style.short(str(name)), 60),
            (0, y[own].mean()),
            (-50, 0),
            va="center",
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            annotation_clip=False,
        )
    return figure
