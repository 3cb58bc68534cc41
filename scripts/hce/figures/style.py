"""Style of all figures: sizes, fonts, colours, names, and saving.

Colours are from Okabe and Ito's palette (https://jfly.uni-koeln.de/color/) and, for changes,
ColorBrewer's BrBG; both can be told apart with any common colour vision deficiency.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import matplotlib.style
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.textpath import TextToPath
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from hce.files import atomic_path
from hce.names import name as name

WIDTH = 180.0
"""Width of every figure, in mm (two columns of a journal page)."""
MARGIN = 4.0
"""White border, in mm."""
SMALL = 6.0
"""The smallest font, in points; also that of all type names."""
ROW = 2.3
"""Height of a row with the name of a type, in mm."""

TITLE = 8.0
"""Height of a panel's letter and title, with a line for a legend or remark, in mm."""

# It logs every table of every font in a PDF.
logging.getLogger("fontTools.subset").setLevel(logging.WARNING)

INK = "#222222"
MUTED = "#6b6b6b"
RULE = "#b5b5b5"
ABSENT = "#cfcfcf"
TINT = "#f1efe6"
REFERENCE = "#4d4d4d"
OOD = "#cc79a7"
UP, DOWN = "#01665e", "#8c510a"
CHANGE = LinearSegmentedColormap.from_list(
    "change", [DOWN, "#d8b365", "#ffffff", "#5ab4ac", UP], N=255
)
"""Brown for a lower score, white for an equal one, teal for a higher one."""

_LOSS_COLOURS = {"ce": "#0072b2", "hce": "#e69f00", "hce_log": "#d55e00"}
_SHAPES = "os^DvPX*"
_OTHER_COLOURS = ("#56b4e9", "#009e73", "#f0e442", "#999999", "#cc79a7", "#000000")
_ABBREVIATIONS = (
    (r"-alpha-alpha\b", "αα"),
    (r"\balpha-beta\b", "αβ"),
    (r"\bgamma-delta\b", "γδ"),
    (r"\b(CD\w+)-positive\b", r"\1+"),
    (r"\b(CD\w+)-negative\b", "\\1\N{MINUS SIGN}"),
    (r"\b(CD\w+\+), (?=αβ)", r"\1 "),
)

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": SMALL,
    "axes.titlesize": 7,
    "axes.titlepad": 4,
    "axes.labelsize": SMALL,
    "axes.labelpad": 2,
    "axes.linewidth": 0.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.minor.width": 0.35,
    "ytick.minor.width": 0.35,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "xtick.minor.size": 1.2,
    "ytick.minor.size": 1.2,
    "xtick.major.pad": 1.5,
    "ytick.major.pad": 1.5,
    "legend.frameon": False,
    "legend.borderaxespad": 0,
    "legend.handletextpad": 0.4,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "hce",
}


@contextmanager
def house_style() -> Iterator[None]:
    """Within the block, matplotlib uses this style and ignores the user's settings."""
    with matplotlib.style.context(["default", _RC]):
        yield


def short(label: str) -> str:
    """A type's name with symbols for its longest words (CD8+ αβ for CD8-positive, alpha-beta)."""
    for long, symbol in _ABBREVIATIONS:
        label = re.sub(long, symbol, label)
    return label


def loss_colours(losses: Sequence[str]) -> dict[str, str]:
    """A colour for each loss; known losses have the same colour in every figure."""
    others = [loss for loss in losses if loss not in _LOSS_COLOURS]
    return {
        loss: _LOSS_COLOURS.get(loss) or _OTHER_COLOURS[others.index(loss) % len(_OTHER_COLOURS)]
        for loss in losses
    }


def ink_on(colour: str) -> str:
    """The colour of text on a filled area: dark on light colours, white on dark ones."""
    red, green, blue = to_rgb(colour)
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def count_axis(axes: Axes, direction: Literal["x", "y"], counts: np.ndarray) -> None:
    """Makes an axis of cell counts logarithmic, with plain numbers at its ticks.

    Args:
        axes: the axes.
        direction: the axis to change.
        counts: the values to show; zeros are ignored.
    """
    shown = counts[counts > 0] if (counts > 0).any() else np.ones(1)
    low, high = shown.min() / 1.8, shown.max() * 1.8
    axes.set(
        **{
            f"{direction}scale": "log",
            f"{direction}lim": (low, high),
            f"{direction}label": "cells (log scale)",
        }
    )
    axis = axes.xaxis if direction == "x" else axes.yaxis
    # With few powers of ten, 2 and 5 get numbers too.
    subs = (1, 2, 5) if high / low < 50 else (1,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_minor_locator(LogLocator(subs=range(2, 10)))
    axis.set_major_formatter(lambda value, _: thousands(value))
    axis.set_minor_formatter(NullFormatter())


@cache
def text_width(text: str, size: float = SMALL) -> float:
    """Width of a line of text in mm, at a font size in points."""
    font = FontProperties(family=_RC["font.family"], size=size)
    points = TextToPath().get_text_width_height_descent(text, font, ismath=False)[0]
    return float(points) * 25.4 / 72


def fit(text: str, width: float) -> str:
    """The text, cut with an ellipsis if it is wider than `width` mm at the small font size."""
    if text_width(text) <= width:
        return text
    while text and text_width(text + "…") > width:
        text = text[:-1]
    return text.rstrip(" ,-") + "…"


def wrap(text: str, width: float) -> list[str]:
    """The text in lines of at most `width` mm at the small font size, broken between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [fit(line, width) for line in lines]


def new_figure(height: float, note: str | None) -> Figure:
    """An empty figure of the full width.

    Args:
        height: in mm.
        note: a line for the top margin, such as "Simulated data".
    """
    figure = Figure(figsize=(WIDTH / 25.4, height / 25.4))
    if note:
        figure.text(
            1 - MARGIN / WIDTH,
            1 - 1.2 / height,
            note,
            ha="right",
            va="top",
            color=DOWN,
            fontweight="bold",
        )
    return figure


def empty_figure(words: str, note: str | None) -> Figure:
    """A small figure that says why there is nothing to draw."""
    figure = new_figure(30.0, note)
    say(place(figure, MARGIN, MARGIN + 4, WIDTH - 2 * MARGIN, 20), words)
    return figure


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a position in mm from the left and top edges of the figure."""
    page = figure.get_figheight() * 25.4
    return figure.add_axes((left / WIDTH, 1 - (top + height) / page, width / WIDTH, height / page))


def canvas(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes without frame, with data units of mm and the origin at the top left."""
    axes = place(figure, left, top, width, height)
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return axes


def letter(figure: Figure, panel: str, title: str, left: float, top: float) -> None:
    """Writes a panel's letter and title; (left, top) in mm is the upper left corner.

    A figure with one panel has no letter ("").
    """
    page = figure.get_figheight() * 25.4
    y = 1 - (top + 3.0) / page
    if panel:
        figure.text(left / WIDTH, y, panel, fontsize=9, fontweight="bold", va="baseline")
    left += 4.5 if panel else 0.0
    figure.text(left / WIDTH, y, title, fontsize=7, va="baseline")


def legend(figure: Figure, left: float, top: float, handles: Sequence[Artist]) -> None:
    """Draws a legend in one line below a panel's title; (left, top) in mm as in `letter`."""
    page = figure.get_figheight() * 25.4
    figure.legend(
        handles=list(handles),
        loc="center left",
        ncols=len(handles),
        columnspacing=1.4,
        borderpad=0,
        bbox_to_anchor=(left / WIDTH, 1 - (top + 6.0) / page),
        handlelength=1.2,
    )


def remark(figure: Figure, left: float, top: float, text: str) -> None:
    """Writes a few words below a panel's title; (left, top) in mm as in `letter`."""
    page = figure.get_figheight() * 25.4
    figure.text(left / WIDTH, 1 - (top + 6.0) / page, text, va="center", color=MUTED)


def loss_handles(losses: Sequence[str]) -> list[Artist]:
    """Legend entries for the colours of losses."""
    colours = loss_colours(losses)
    return [Patch(fc=colours[loss], label=name(loss)) for loss in losses]


def seed_dots(axes: Axes, x: Any, y: Any, fill: str = "white") -> None:
    """Draws the scores of single seeds, which look the same in all figures but for their fill."""
    axes.scatter(x, y, s=5, c=fill, edgecolors=INK, linewidths=0.5, zorder=4)


def seed_handle(words: str = "one seed", fill: str = "white") -> Line2D:
    """Legend entry of `seed_dots`."""
    return Line2D(
        [], [], ls="", marker="o", ms=2.6, mfc=fill, mec=INK, mew=0.5, label=words
    )  # fmt: skip


def decoder_shapes(decoders: Iterable[str]) -> dict[str, str]:
    """A shape of marks for each decoder."""
    return dict(zip(dict.fromkeys(decoders), _SHAPES * 9, strict=False))


def decoder_handles(shapes: Mapping[str, str]) -> list[Artist]:
    """Legend entries of `decoder_shapes`."""
    return [
        Line2D([], [], ls="", marker=shape, ms=3, c=REFERENCE, lw=0, label=name(decoder))
        for decoder, shape in shapes.items()
    ]


def say(axes: Axes, text: str) -> None:
    """Writes why a panel is empty, in the middle of it."""
    axes.axis("off")
    axes.text(
        0.5,
        0.5,
        text,
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=MUTED,
        fontsize=7,
        linespacing=1.5,
    )


def thousands(count: float) -> str:
    """A count with separators: 15,240,192."""
    return f"{int(count):,}"


def signed(value: float, digits: int) -> str:
    """A change with its sign (0 without one) and a typographic minus."""
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        return "0"
    return text.replace("-", "\N{MINUS SIGN}")


def change_axis(axes: Axes) -> None:
    """Formats the y axis for changes: signed numbers at round values."""
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(
        lambda value, _: signed(value, 2).removesuffix("0") if value else "0"
    )


def save(figure: Figure, *paths: str | Path) -> None:
    """Writes a figure as PDF, PNG (300 dpi) or SVG, chosen by the suffix, each atomically.

    The same figure gives the same bytes: no dates, fixed identifiers. Text remains text in PDF and
    SVG.
    """
    dateless: dict[str, dict[str, Any]] = {
        ".pdf": {"CreationDate": None},
        ".svg": {"Date": None},
    }
    with house_style():
        for path in map(Path, paths):
            with atomic_path(path) as temporary:
                figure.savefig(temporary, dpi=300, metadata=dateless.get(path.suffix))
