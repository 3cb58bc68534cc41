"""Figure of the back-off: coverage, precision asked for and reached, depth, and where it fails."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hce.figures import style, tables
from hce.figures.style import MARGIN, WIDTH

_SETS = ("id", "ood")
_MOST_TYPES = 14
_MARKED = (0.9, 0.95)  # requested precisions that are written next to their dots
_CLOSE = 0.15  # a coverage so small leaves no room to the left of its dot
_MIN_CELLS = 20  # of an answer; fewer are not informative
_ROW = 3.4  # height of the row of a type, in mm
_NAMES = 62.0  # width of the names of types
_TOP = 12.0
_PANEL = 44.0  # height of the curves
_DEPTH = 18.0  # height of the curves of depth below them


def draw_coverage(
    coverage: pd.DataFrame,
    calibrated_precision: pd.DataFrame,
    calibrated_precision_types: pd.DataFrame,
    model: str,
    compared: str,
    note: str | None = None,
) -> Figure:
    """Draws what the back-off answers and how much of it is right.

    Args:
        coverage: `coverage.tsv`: model, loss, seed, set, threshold, coverage, right, confirmed,
            depth, ….
        calibrated_precision: its table: the same at the calibrated thresholds, with asked.
        calibrated_precision_types: its table: model, loss, seed, set, asked, type, decided,
            right, ….
        model: whose back-off is drawn.
        compared: the loss of panels c and d; if the run lacks it, the first one after the baseline.
        note: a line for the top margin, such as "Simulated data".
    """
    coverage, calibrated, worst = (
        table[table["model"] == model]
        for table in (coverage, calibrated_precision, calibrated_precision_types)
    )
    losses = tables.in_order(coverage["loss"])
    shown = tables.compared_loss(losses, tables.BASELINE, compared) or next(iter(losses), "")
    worst = _worst(worst[worst["loss"] == shown])
    bottom = _TOP + _PANEL + _DEPTH + 27
    with style.house_style():
        figure = style.new_figure(bottom + 6 + max(len(worst), 3) * _ROW + 8, note)
        colours = style.loss_colours(losses)
        width = (WIDTH - 2 * MARGIN - 36) / 3
        for i, name in enumerate(_SETS):
            left = MARGIN + 8 + i * (width + 12)
            style.letter(figure, "ab"[i], style.name(name), left - 8, 4)
            axes = style.place(figure, left, _TOP, width, _PANEL)
            of_set = coverage[coverage["set"] == name]
            _curves(axes, of_set, calibrated[calibrated["set"] == name], colours, shown)
            axes = style.place(figure, left, _TOP + _PANEL + 5, width, _DEPTH)
            _depth(axes, of_set, calibrated[calibrated["set"] == name], colours)
        left = MARGIN + 8 + 2 * (width + 12)
        style.letter(figure, "c", f"Requested and reached, {style.name(shown)}", left - 8, 4)
        axes = style.place(figure, left, _TOP, width, _PANEL)
        _given(axes, calibrated[calibrated["loss"] == shown])
        handles = [Line2D([], [], c=colours[loss], label=style.name(loss)) for loss in losses]
        if handles:
            handles.append(Line2D([], [], c=style.MUTED, lw=0.6, ls=":", label="of all answers"))
            figure.axes[0].legend(handles=handles, loc="lower left")
        title = "Answers with the lowest precision, OOD"
        style.letter(figure, "d", title, MARGIN, bottom - 8)
        axes = style.place(
            figure, MARGIN + _NAMES, bottom, WIDTH - 2 * MARGIN - _NAMES - 30,
            max(len(worst), 3) * _ROW,
        )  # fmt: skip
        _types(axes, worst)
    return figure


def _worst(types: pd.DataFrame) -> pd.DataFrame:
    """The answers of the OOD set with the lowest precision."""
    enough = types[(types["set"] == "ood") & (types["decided"] >= _MIN_CELLS)]
    return enough.sort_values(["right", "type"]).head(_MOST_TYPES)


def _curves(
    axes: Axes,
    coverage: pd.DataFrame,
    calibrated: pd.DataFrame,
    colours: dict[str, str],
    marked: str,
) -> None:
    if coverage["right"].notna().sum() == 0:
        style.say(axes, "no cells")
        return
    for loss, rows in coverage.groupby("loss", sort=False):
        for _, curve in rows.groupby("seed"):
            colour = colours[str(loss)]
            axes.plot(curve["coverage"], curve["right"], c=colour, lw=1)
            axes.plot(curve["coverage"], curve["confirmed"], c=colour, lw=0.6, ls=":")
    for loss, rows in calibrated.dropna(subset="right").groupby("loss", sort=False):
        axes.scatter(rows["coverage"], rows["right"], s=7, c=colours[str(loss)], zorder=3)
        if loss != marked:
            continue
        asked_for = rows[rows["asked"].isin(_MARKED)]
        for asked, x, y in asked_for[["asked", "coverage", "right"]].to_numpy():
            side, align = (-3, "right") if x > _CLOSE else (3, "left")
            axes.annotate(f"{asked:g}", (x, y), (side, -5), textcoords="offset points", ha=align)
    axes.set(xlim=(0, 1.02), ylim=(None, 1.01))
    axes.set(ylabel="precision: share of right answers")
    axes.tick_params(axis="x", labelbottom=False)


def _depth(
    axes: Axes, coverage: pd.DataFrame, calibrated: pd.DataFrame, colours: dict[str, str]
) -> None:
    """What coverage and precision are paid with: how far below the top the answers are."""
    if coverage["depth"].notna().sum() == 0:
        style.say(axes, "no cells")
        return
    for (loss, _), curve in coverage.groupby(["loss", "seed"], sort=False):
        axes.plot(curve["coverage"], curve["depth"], c=colours[str(loss)], lw=1)
    for loss, rows in calibrated.dropna(subset="right").groupby("loss", sort=False):
        axes.scatter(rows["coverage"], rows["depth"], s=7, c=colours[str(loss)], zorder=3)
    axes.set(xlim=(0, 1.02), ylim=(0, None))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.set(xlabel="coverage: share of cells with an answer", ylabel="terms above\nthe answer")


def _given(axes: Axes, calibrated: pd.DataFrame) -> None:
    calibrated = calibrated.dropna(subset="right")
    if calibrated.empty:
        style.say(axes, "No precision\nwas calibrated.")
        return
    low = min(calibrated["asked"].min(), calibrated["right"].min()) - 0.03
    axes.plot([low, 1], [low, 1], c=style.RULE, lw=0.7, zorder=0)
    looks = {"val": style.MUTED, "id": style.INK, "ood": style.OOD}
    for name, colour in looks.items():
        rows = calibrated[calibrated["set"] == name].sort_values("asked")
        if len(rows):
            axes.plot(
                rows["asked"], rows["right"], c=colour, lw=0.8, marker="o", ms=2.4,
                label=style.name(name),
            )  # fmt: skip
    axes.set(
        xlim=(low, 1.01), ylim=(low, 1.01), xlabel="requested precision", ylabel="reached precision"
    )
    axes.legend(loc="lower right")


def _types(axes: Axes, worst: pd.DataFrame) -> None:
    if worst.empty:
        style.say(axes, "No answer of the OOD set has enough cells.")
        return
    y = np.arange(len(worst))
    axes.barh(y, worst["right"], height=0.62, color=style.MUTED)
    axes.axvline(float(worst["asked"].iloc[0]), c=style.OOD, lw=0.8)
    for row, (value, cells) in enumerate(zip(worst["right"], worst["decided"], strict=True)):
        text = f"{value:.0%} of {style.thousands(cells)} cells"
        axes.text(1.02, row, text, va="center", transform=axes.get_yaxis_transform())
    names = [style.fit(style.short(name), _NAMES - 4) for name in worst["type"]]
    axes.set_yticks(y, labels=names)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, 1), ylim=(len(worst) - 0.5, -0.5), xlabel="precision")
