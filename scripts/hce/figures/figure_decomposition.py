"""Figure of the decomposition: what the gain of a loss on new studies is made of."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hce.figures import style
from hce.figures.style import MARGIN, TITLE, WIDTH

_SCOPES = {
    "all": "all types",
    "internal": "internal types",
    "connected_leaf": "connected leaves",
    "isolated_leaf": "isolated leaves",
}
# Part → its colour and what it is called.
_PARTS = {
    "gain": (style.INK, "gain in credited F1"),
    "decoding": ("#56b4e9", "decoding, without retraining"),
    "contradiction": ("#d55e00", "answers that the study contradicts"),
    "rest": ("#009e73", "what is left for training"),
}
_LEFT = 27.0  # left edge of the panels: names of rows stand before it
_TOP = MARGIN + TITLE + 5
_ROW = 6.5  # height of a scope, in mm
_STUDIES = 30  # studies shown at most


def draw_decomposition(decomposition: pd.DataFrame, note: str | None = None) -> Figure:
    """Draws the parts of the gain on new studies, by kind of type and in each study.

    Args:
        decomposition: `decomposition.tsv`: model, set, baseline, loss, scope, unit, types, part,
            change, ci_low, ci_high.
        note: a line for the top margin, such as "Simulated data".
    """
    table = decomposition[decomposition["set"] == "ood"]
    with style.house_style():
        if table.empty:
            return style.empty_figure(
                "Nothing to divide: it takes OOD data, both losses of the comparison,\n"
                "and the decoders argmax and ancestor sum.",
                note,
            )
        models = list(dict.fromkeys(table["model"]))
        scopes = [scope for scope in _SCOPES if scope in set(table["scope"])]
        height = _ROW * len(scopes)
        below = _TOP + height + 14
        figure = style.new_figure(below + TITLE + 36, note)
        loss, baseline = (style.name(str(table[name].iloc[0])) for name in ("loss", "baseline"))
        title = f"What {loss} gains over {baseline} on new studies (OOD), in points of macro F1"
        style.letter(figure, "a", title, MARGIN, MARGIN)
        style.legend(figure, MARGIN + 4.5, MARGIN, _handles())
        style.letter(figure, "b", "The same in each new study", MARGIN, below - 3)
        gap, panels = 5.0, []
        width = (WIDTH - MARGIN - _LEFT - gap * (len(models) - 1)) / len(models)
        for j, model in enumerate(models):
            of_model = table[table["model"] == model]
            left = _LEFT + j * (width + gap)
            axes = style.place(figure, left, _TOP, width, height)
            _draw_scopes(axes, of_model, scopes)
            axes.set_title(style.name(model), fontsize=style.SMALL, loc="left", weight="bold")
            axes.tick_params(axis="y", labelleft=j == 0)
            studies = style.place(figure, left, below + TITLE - 3, width, 30)
            _draw_studies(studies, of_model[of_model["scope"] == "study"])
            studies.tick_params(axis="y", labelleft=j == 0)
            if j == 0:
                studies.set_ylabel("points")
            panels.append((axes, studies))
        # One scale for all models.
        _share([axes.get_xlim() for axes, _ in panels], [axes.set_xlim for axes, _ in panels])
        _share([axes.get_ylim() for _, axes in panels], [axes.set_ylim for _, axes in panels])
        return figure


def _share(limits: Sequence[tuple[float, float]], setters: Sequence[Callable[..., object]]) -> None:
    """Gives axes the widest limits of all."""
    for set_limits in setters:
        set_limits(min(low for low, _ in limits), max(high for _, high in limits))


def _handles() -> list[Line2D]:
    return [
        Line2D([], [], ls="", marker="o", ms=3, c=colour, label=words)
        for colour, words in _PARTS.values()
    ]


def _draw_scopes(axes: Axes, table: pd.DataFrame, scopes: list[str]) -> None:
    """One row per kind of type; in it one dot per part, with its interval over studies."""
    axes.axvline(0, color=style.RULE, lw=0.6, zorder=1)
    offsets = np.linspace(-0.28, 0.28, len(_PARTS))
    for (part, (colour, _)), offset in zip(_PARTS.items(), offsets, strict=True):
        of_part = table[(table["part"] == part) & (table["scope"] != "study")]
        rows = of_part.set_index("scope").reindex(scopes)
        y = np.arange(len(scopes)) + offset
        axes.hlines(y, 100 * rows["ci_low"], 100 * rows["ci_high"], color=colour, lw=0.8, zorder=2)
        axes.scatter(100 * rows["change"], y, s=9, c=colour, lw=0, zorder=3)
    axes.set_ylim(len(scopes) - 0.5, -0.5)
    axes.set_yticks(range(len(scopes)), labels=[_SCOPES[scope] for scope in scopes])
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _draw_studies(axes: Axes, table: pd.DataFrame) -> None:
    """One column per study, by falling gain; its parts are stacked up, falls downwards."""
    parts = table.pivot(index="unit", columns="part", values="change")
    parts = 100 * parts.sort_values("gain", ascending=False, kind="stable")
    shown = parts.iloc[:_STUDIES]
    if shown.empty:
        style.say(axes, "no single studies")
        return
    x = np.arange(len(shown))
    up, down = np.zeros(len(shown)), np.zeros(len(shown))
    for part in list(_PARTS)[1:]:
        value = shown[part].to_numpy()
        start = np.where(value >= 0, up, down)
        axes.bar(x, value, 0.8, bottom=start, color=_PARTS[part][0], lw=0, zorder=2)
        up, down = up + np.maximum(value, 0), down + np.minimum(value, 0)
    axes.scatter(x, shown["gain"], s=7, c=_PARTS["gain"][0], lw=0, zorder=3)
    axes.axhline(0, color=style.RULE, lw=0.6, zorder=1)
    left_out = len(parts) - len(shown)
    axes.set_xlabel(
        f"{len(shown)} studies" + (f", {left_out} with smaller gains left out" if left_out else "")
    )
    axes.set_xticks([])
    axes.set_xlim(-0.6, max(len(shown), 4) - 0.4)
