"""Panel of the models: one row per model, with its layers from genes to types and its training."""

import re
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from hce.figures import style

_HEAD = 6.0  # height of the headings, in mm
_ROW = 10.0  # height of a model's row
_BOX = 8.0  # height of a box
_LINE = 2.45  # between lines of text
_PADDING = 1.1  # on either side of the text of a box
_ENDS = 10.0  # width of the symbols for genes and for types
_LAST_ARROW = 4.0  # length of the arrow to the types
_SHIFT = 0.6  # between the boxes of a stack
_NAMES = 20.0  # width of the column of names
_WIDEST = 34.0  # maximum width of the text of a box


@dataclass(frozen=True)
class _Layer:
    """A box of the drawing: its lines of text, and whether it represents several layers."""

    title: str
    details: tuple[str, ...]
    repeated: bool

    @property
    def shift(self) -> float:
        """How far the lower boxes of a stack protrude."""
        return 2 * _SHIFT if self.repeated else 0.0

    @property
    def width(self) -> float:
        return max(style.text_width(line) for line in (self.title, *self.details)) + 2 * _PADDING


def height(models: pd.DataFrame) -> float:
    """Height of the panel without its title, in mm."""
    return _HEAD + _ROW * len(models)


def architectures(axes: Axes, models: pd.DataFrame) -> None:
    """Draws the panel.

    Args:
        axes: a canvas in mm, see `style.canvas`, of height `height(models)`.
        models: `models.tsv`, see `model_summary.describe_models`.
    """
    width = axes.get_xlim()[1]
    # Right edges of the columns of numbers.
    columns = {
        "parameters": width - 44,
        "learning\nrate": width - 31,
        "weight\ndecay": width - 18.5,
        "augmented": width,
    }
    for heading, x in columns.items():
        axes.text(
            x, _HEAD - 0.8, heading, ha="right", va="bottom", color=style.MUTED, linespacing=1.05
        )
    for i, model in enumerate(models.to_dict("records")):
        top = _HEAD + i * _ROW
        axes.plot([0, width], [top, top], c=style.RULE, lw=0.4)
        middle = top + _ROW / 2
        _lines(
            axes,
            0,
            middle,
            [style.fit(style.name(model["model"]), _NAMES - 1), *_origin(model)],
            "left",
        )
        _layers(axes, (_NAMES, columns["parameters"] - 15), middle, model)
        values = (
            [style.thousands(model["parameters"])],
            [_number(model["lr"]), *_decay(model["lr_factor"])],
            [_number(model["weight_decay"])],
            [model["augmentation"]],
        )
        for x, lines in zip(columns.values(), values, strict=True):
            _lines(axes, x, middle, lines, "right")


def _layers(axes: Axes, span: tuple[float, float], middle: float, model: dict) -> None:
    """Draws the layers of one model: the last one next to the types, the others evenly spaced."""
    left, right = span
    layers = [_read(words) for words in model["layers"].split(" → ")]
    _end(axes, left, middle, model["genes"], "genes")
    _end(axes, right - _ENDS, middle, model["types"], "types")
    *first, last = layers
    last_left = right - _ENDS - _LAST_ARROW - last.width - last.shift
    x = left + _ENDS
    gap = (last_left - x - sum(layer.width + layer.shift for layer in first)) / (len(first) + 1)
    for layer in first:
        _arrow(axes, x, x + gap, middle)
        _box(axes, x + gap, middle, layer)
        x += gap + layer.width + layer.shift
    _arrow(axes, x, last_left, middle)
    _box(axes, last_left, middle, last)
    _arrow(axes, last_left + last.width + last.shift, right - _ENDS, middle)


def _read(words: str) -> _Layer:
    """A layer of `model_summary.describe_layers`, its details in at most two lines."""
    found = re.fullmatch(r"(.*?)(?: \((.*)\))?", words)
    assert found is not None
    details = (found[2] or "").split(", ") if found[2] else []
    breaks = [
        (", ".join(details[:i]) + ",", ", ".join(details[i:])) for i in range(1, len(details))
    ]
    lines = min(breaks, key=lambda pair: max(map(style.text_width, pair)), default=tuple(details))
    title = style.fit(found[1], _WIDEST)
    return _Layer(title, tuple(style.fit(line, _WIDEST) for line in lines), " × " in found[1])


def _box(axes: Axes, left: float, middle: float, layer: _Layer) -> None:
    for shift in (2 * _SHIFT, _SHIFT, 0.0) if layer.repeated else (0.0,):
        corner = (left + shift, middle - _BOX / 2 - shift / 2)
        patch = FancyBboxPatch(
            corner, layer.width, _BOX, boxstyle="round,pad=0,rounding_size=0.8",
            fc=style.TINT, ec=style.REFERENCE, lw=0.5, zorder=3 - shift / 10,
        )  # fmt: skip
        axes.add_patch(patch)
    centre = left + layer.width / 2
    _lines(axes, centre, middle, [layer.title, *layer.details], "center")


def _end(axes: Axes, left: float, middle: float, count: int, what: str) -> None:
    _lines(axes, left + _ENDS / 2, middle, [style.thousands(count), what], "center")


def _arrow(axes: Axes, start: float, end: float, y: float) -> None:
    arrow = {"arrowstyle": "-|>,head_width=0.12,head_length=0.22", "lw": 0.6, "fc": style.INK}
    arrow |= {"shrinkA": 0, "shrinkB": 0, "ec": style.INK}
    axes.annotate("", (end - 0.4, y), (start + 0.4, y), arrowprops=arrow, zorder=5)


def _lines(axes: Axes, x: float, middle: float, lines: list[str], align: str) -> None:
    """Writes lines of text centred at a height; all but the first are muted."""
    top = middle - _LINE * (len(lines) - 1) / 2
    for i, line in enumerate(lines):
        colour = style.MUTED if i else style.INK
        axes.text(x, top + i * _LINE, line, ha=align, va="center_baseline", color=colour, zorder=6)


def _origin(model: dict) -> list[str]:
    return ["published"] if model["origin"] == "published" else []


def _number(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:g}"


def _decay(factor: float) -> list[str]:
    """The factor on the learning rate after each epoch."""
    return [] if pd.isna(factor) else [f"× {factor:g}"]
