"""Figure of the leakage audit: new studies, scores without leaky cells, and the reference."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hce.figures import style, tables
from hce.figures.style import MARGIN, WIDTH

_MOST_STUDIES = 40
_ROW = 3.4  # height of the row of a study, in mm
_TOP = 20.0  # top of the rows
_NAMES = 38.0  # width of the names of studies
_SCORES = 128.0  # left edge of the panels on the right
_SCORE = "credited_macro_f1"
# Quantity of the audit's summary → label in the figure.
_REFERENCE_ROWS = {
    "cells held more than once": "cells that the reference release holds more than once",
    "cells whose copies are in different sets": "of these, cells with a copy in another set",
    "id cells that are also in train": "ID test cells that are also in training",
    "val cells that are also in train": "validation cells that are also in training",
}
_SET_ROWS = {
    "withdrawn studies": "studies that the new release no longer has",
    "train cells of withdrawn studies": "training cells of these studies",
    "types missing if matched by CL id": "OOD types that matching by CL id, not label, would lose",
    "types added if matched by CL id": "OOD types that matching by CL id, not label, would add",
}


def draw_audit(
    studies: pd.DataFrame,
    summary: pd.DataFrame,
    overall: pd.DataFrame,
    evaluation_set: str = "ood",
    note: str | None = None,
) -> Figure:
    """Draws what new studies share with the reference release, and the effect on the scores.

    Args:
        studies: `audit/studies.tsv`: set, study, title, cells, donors, known_collection,
            shared_donors, duplicates, redeposit, leaky_cells, …
        summary: `audit/summary.tsv`: release, set, quantity, value.
        overall: `overall.tsv`, with the set `<evaluation_set>_clean`.
        evaluation_set: the set whose studies are drawn.
        note: a line for the top margin, such as "Simulated data".

    Returns:
        The figure, 180 mm wide, for `style.save`.
    """
    chosen = studies[studies["set"] == evaluation_set]
    fits = {
        kind: tables.scores(overall, name, _SCORE)
        for kind, name in (("all", evaluation_set), ("clean", f"{evaluation_set}_clean"))
    }
    bars = max(len(fits["all"][["model", "loss"]].drop_duplicates()), 3)
    rows = max(min(len(chosen), _MOST_STUDIES + 1), 3)
    panel = max(bars * 5.0, min(rows * _ROW, bars * 10.0))
    text = _with_values(summary, evaluation_set)
    below = _TOP + max(rows * _ROW, panel) + 14
    lines = -(-len(text) // 2)
    with style.house_style():
        figure = style.new_figure(below + 8 + 4 * lines + MARGIN, note)
        style.letter(figure, "a", "New studies, and what they share with the reference", MARGIN, 4)
        _draw_studies(figure, chosen, rows)
        style.letter(figure, "b", "Without the leaky cells", _SCORES - 10, 4)
        _draw_scores(figure, fits, panel)
        style.letter(figure, "c", "Copies, withdrawals and names", MARGIN, below)
        column = (WIDTH - 2 * MARGIN - 10) / 2
        for i, (words, value) in enumerate(text):
            left = MARGIN + (column + 10) * (i // lines)
            axes = style.canvas(figure, left, below + 8 + 4 * (i % lines), column, 4)
            axes.text(0, 2, words, va="center")
            axes.text(column, 2, value, va="center", ha="right")
        return figure


def _with_values(summary: pd.DataFrame, evaluation_set: str) -> list[tuple[str, str]]:
    lines = []
    for name, wanted in (("reference", _REFERENCE_ROWS), (evaluation_set, _SET_ROWS)):
        values = summary[summary["set"] == name].set_index("quantity")["value"]
        for quantity, words in wanted.items():
            if quantity in values:
                value = values[quantity]
                lines.append((words, "not known" if pd.isna(value) else style.thousands(value)))
    return lines


def _draw_studies(figure: Figure, studies: pd.DataFrame, rows: int) -> None:
    if studies.empty:
        style.say(style.place(figure, MARGIN, _TOP, 100, 20), "The run has no OOD data.")
        return
    ranked = studies.sort_values("cells", ascending=False, kind="stable")
    counted = ["cells", "donors", "shared_donors", "duplicates", "leaky_cells", "known_collection"]
    shown = ranked[["title", *counted]].astype(dict.fromkeys(counted, float))
    if len(shown) > _MOST_STUDIES + 1:
        rest = shown.iloc[rows - 1 :]
        shown = shown.iloc[: rows - 1]
        last = rest[counted].sum(skipna=False).to_dict()
        last["known_collection"] /= len(rest)
        shown = pd.concat(
            [shown, pd.DataFrame([{"title": f"{len(rest)} further studies", **last}])]
        )
    y = np.arange(len(shown))
    rows = len(shown)
    page = figure.get_figheight() * 25.4
    left = MARGIN + _NAMES + 14
    for i, (title, cells) in enumerate(zip(shown["title"], shown["cells"], strict=True)):
        at = 1 - (_TOP + (i + 0.5) * _ROW) / page
        name = style.fit(str(title), _NAMES)
        figure.text(MARGIN / WIDTH, at, name, va="center")
        figure.text((left - 2) / WIDTH, at, style.thousands(cells), va="center", ha="right")
    figure.text((left - 2) / WIDTH, 1 - (_TOP - 2) / page, "cells", ha="right", c=style.MUTED)
    width, gap = 11.0, 3.0
    panels = (
        ("collection\nis known", shown["known_collection"], style.REFERENCE),
        ("donors\nshared", shown["shared_donors"] / shown["donors"], style.REFERENCE),
        ("cells\nequal", shown["duplicates"] / shown["cells"], style.REFERENCE),
        ("cells\nleaky", shown["leaky_cells"] / shown["cells"], style.OOD),
    )
    for i, (title, share, colour) in enumerate(panels):
        axes = style.place(figure, left + i * (width + gap), _TOP, width, rows * _ROW)
        _share_bars(axes, y, share.to_numpy(np.float64), colour)
        axes.set_title(title, fontsize=style.SMALL, loc="left", linespacing=1.2)


def _share_bars(axes: Axes, y: np.ndarray, share: np.ndarray, colour: str) -> None:
    """One bar per row, from 0 to 1, on a pale background; "?" for unknown values."""
    axes.barh(y, 1, 0.62, color=style.TINT)
    axes.barh(y, np.nan_to_num(share), 0.62, color=colour)
    for row, value in zip(y, share, strict=True):
        if np.isnan(value):
            axes.text(0.5, row, "?", ha="center", va="center", c=style.MUTED)
        elif 0 < value < 0.6:  # next to the bar, so that small shares can be read
            text = f"{value:.0%}" if value >= 0.01 else "<1%"
            axes.text(value + 0.05, row, text, va="center")
    axes.set(xlim=(0, 1), ylim=(len(y) - 0.5, -0.5), yticks=[])
    axes.set_xticks([0, 1], labels=["", "100%"])
    axes.spines["left"].set_visible(False)


def _draw_scores(figure: Figure, fits: dict[str, pd.DataFrame], height: float) -> None:
    axes = style.place(figure, _SCORES + 10, _TOP, WIDTH - MARGIN - _SCORES - 12, height)
    every, clean = fits["all"], fits["clean"]
    if every.empty:
        style.say(axes, "The run has no\nOOD scores.")
        return
    losses = tables.in_order(every["loss"])
    colours = style.loss_colours(losses)
    labels, row = [], 0
    for model in dict.fromkeys(every["model"]):
        for loss in losses:
            points = [
                table[(table["model"] == model) & (table["loss"] == loss)]["value"]
                for table in (every, clean)
            ]
            if points[0].empty:
                continue
            for offset, values, filled in ((-0.16, points[0], True), (0.16, points[1], False)):
                face = colours[loss] if filled else "white"
                edge = colours[loss]
                at = np.full(len(values), row + offset)
                axes.scatter(values, at, s=6, c=face, edgecolors=edge, linewidths=0.5, zorder=2)
                axes.plot([values.mean()] * 2, [row + offset - 0.15, row + offset + 0.15],
                          c=style.INK, lw=1, zorder=3)  # fmt: skip
            labels.append(f"{style.name(model)}, {style.name(loss)}")
            row += 1
    axes.set(ylim=(row - 0.5, -0.5), xlabel="credited macro F1, OOD")
    axes.set_yticks(range(row), labels=labels)
    axes.tick_params(axis="y", length=0)
    low, high = axes.get_xlim()
    middle, half = (low + high) / 2, max(high - low, 0.06) / 2 * 1.1
    axes.set_xlim(middle - half, middle + half)
    handles = [
        style.seed_handle("one seed, all cells", style.INK),
        style.seed_handle("not leaky"),
        Line2D([], [], c=style.INK, lw=1, label="mean"),
    ]
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.6, 1.02), ncols=3)
