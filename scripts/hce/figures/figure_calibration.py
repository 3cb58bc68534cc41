"""Figure of calibration: the share of right predictions against their probability."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hce.figures import style, tables
from hce.figures.style import MARGIN, TITLE

# Value of `probability` in the table → its label, and the name of its error in overall.tsv.
_ROWS = {
    "p": ("share of exact predictions", "ece"),
    "s": ("share with label at or below", "ece_s"),
    "credited": ("share of credited predictions", "ece_credited"),
}
_TITLES = (
    "Probability p of the predicted type: is it the label?",
    "Probability s of the predicted type and its descendants: is the label one of them?",
    "Probability of the predicted type and its ancestors: is the prediction credited?",
)
_SETS = {"ood": "solid", "id": (0, (2.2, 1.2))}
_HEIGHT = 48.0
_FEWEST = 50  # cells of a bin, over all seeds; the share of fewer is mostly chance


def draw_calibration(
    calibration: pd.DataFrame, overall: pd.DataFrame, note: str | None = None
) -> Figure:
    """Draws reliability diagrams, one row per probability and one column per model.

    Args:
        calibration: `calibration.tsv`: model, loss, seed, set, decoder, probability (p, s or
            credited), bin, lower, upper, cells, mean_probability, accuracy.
        overall: `overall.tsv`, with the calibration errors.
        note: a line for the top margin, such as "Simulated data".
    """
    chosen = tables.one_decoder(calibration[calibration["set"].isin(_SETS)])
    chosen = chosen[chosen["cells"] > 0]
    with style.house_style():
        if chosen.empty:
            return style.empty_figure("The run has no calibration of ID or OOD predictions.", note)
        models = list(dict.fromkeys(chosen["model"]))
        losses = tables.in_order(chosen["loss"])
        figure = style.new_figure(MARGIN + len(_ROWS) * (TITLE + _HEIGHT), note)
        handles = [*style.loss_handles(losses)]
        for name, line in _SETS.items():
            handles.append(Line2D([], [], c=style.INK, lw=1, ls=line, label=style.name(name)))
        width, gap, left = 31.0, 24.0, MARGIN + 10
        for i, (kind, title) in enumerate(zip(_ROWS, _TITLES, strict=True)):
            right, error = _ROWS[kind]
            top = MARGIN + i * (TITLE + _HEIGHT)
            style.letter(figure, "abc"[i], title, MARGIN, top)
            style.legend(figure, MARGIN + 4.5, top, handles)
            for j, model in enumerate(models):
                axes = style.place(figure, left + j * (width + gap), top + TITLE + 3, width, 34)
                rows = chosen[(chosen["model"] == model) & (chosen["probability"] == kind)]
                _draw_curves(axes, rows, losses)
                axes.set_xlabel("mean probability of a bin")
                if j == 0:
                    axes.set_ylabel(right)
                axes.set_title(style.name(model), fontsize=style.SMALL, loc="left", weight="bold")
                scores = tables.scores(overall, "ood", error)
                _write_errors(axes, scores[scores["model"] == model], losses)
        return figure


def _draw_curves(axes: Axes, table: pd.DataFrame, losses: list[str]) -> None:
    """One line per loss and set, over the cells of all seeds."""
    colours = style.loss_colours(losses)
    axes.plot([0, 1], [0, 1], c=style.RULE, lw=0.6, zorder=1)
    for loss in losses:
        for name, line in _SETS.items():
            rows = table[(table["loss"] == loss) & (table["set"] == name)]
            if rows.empty:
                continue
            means = rows[["mean_probability", "accuracy"]].mul(rows["cells"], axis=0)
            cells = rows.groupby("bin")["cells"].sum()
            x, y = (means[column].groupby(rows["bin"]).sum() / cells for column in means)
            enough = cells >= _FEWEST
            x, y, cells = x[enough], y[enough], cells[enough]
            size = 1 + 11 * cells / cells.sum()
            axes.plot(x, y, c=colours[loss], lw=0.9, ls=line, zorder=2)
            axes.scatter(x, y, s=size, c=colours[loss], lw=0, zorder=3)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_xticks([0, 0.5, 1], labels=["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], labels=["0", "0.5", "1"])


def _write_errors(axes: Axes, scores: pd.DataFrame, losses: list[str]) -> None:
    means = scores.groupby("loss")["value"].mean()
    lines = [
        f"{style.fit(style.name(loss), 14)} {means[loss]:.2f}" for loss in losses if loss in means
    ]
    if lines:
        text = "error, OOD\n" + "\n".join(lines)
        axes.text(1.04, 0.97, text, transform=axes.transAxes, va="top", linespacing=1.3)
