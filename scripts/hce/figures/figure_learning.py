"""Figure of learning curves: the scores of every fit after each epoch."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hce.figures import style, tables
from hce.figures.bars import F1
from hce.figures.style import MARGIN, TITLE, WIDTH

_ROW = 42.0
# End of a column → the score that it holds.
_SCORES = {"_credited_macro_f1": F1, "_study_aware_macro_f1": "study-aware macro F1"}


def draw_learning_curves(history: pd.DataFrame, note: str | None = None) -> Figure:
    """Draws the scores of every fit after each epoch, by set and score (rows) and model (columns).

    Args:
        history: `history.tsv`: model, loss, seed, epoch, kept, val_credited_macro_f1,
            val_study_aware_macro_f1, and the same of the sets of `training.monitor`.
        note: a line for the top margin, such as "Simulated data".
    """
    models = list(dict.fromkeys(history["model"]))
    losses = tables.in_order(history["loss"])
    # The column of each row → its set and the name of its score.
    columns = {
        name: (name.removesuffix(end), score)
        for name in map(str, history)
        for end, score in _SCORES.items()
        if name.endswith(end)
    }
    with style.house_style():
        if not models:
            return style.empty_figure(
                "The run has no learning curves, because it trained nothing.", note
            )
        figure = style.new_figure(MARGIN + TITLE + _ROW * len(columns) + 2, note)
        title = "Macro F1 after each epoch, one line per fit"
        style.letter(figure, "", title, MARGIN, MARGIN)
        kept = Line2D([], [], ls="", marker="o", ms=3, c=style.INK, label="epoch that is kept")
        style.legend(figure, MARGIN, MARGIN, [*style.loss_handles(losses), kept])
        gap, left = 5.0, MARGIN + 10
        width = min((WIDTH - MARGIN - left - gap * (len(models) - 1)) / len(models), 80.0)
        for i, (column, (of_set, score)) in enumerate(columns.items()):
            limits = _limits(history[column])
            for j, model in enumerate(models):
                axes = style.place(
                    figure,
                    left + j * (width + gap),
                    MARGIN + TITLE + 5 + i * _ROW,
                    width,
                    _ROW - 13,
                )
                _draw_fits(axes, history[history["model"] == model], column, losses)
                axes.set_ylim(limits)
                axes.tick_params(axis="y", labelleft=j == 0)
                name = f"{style.name(model)}, {style.name(of_set)}"
                axes.set_title(name, fontsize=style.SMALL, loc="left")
                if i == len(columns) - 1:
                    axes.set_xlabel("epoch")
                if j == 0:
                    axes.set_ylabel(score)
        return figure


def _limits(values: pd.Series) -> tuple[float, float]:
    low, high = values.min(), values.max()
    if np.isnan(low):
        return 0.0, 1.0
    room = max(0.05 * (high - low), 0.01)
    return max(0.0, low - room), min(1.0, high + room)


def _draw_fits(axes: Axes, history: pd.DataFrame, column: str, losses: list[str]) -> None:
    colours = style.loss_colours(losses)
    if history[column].isna().all():
        style.say(axes, "not scored after each epoch")
        return
    for (loss, _), fit in history.groupby(["loss", "seed"], sort=False):
        epochs = fit["epoch"] + 1
        axes.plot(epochs, fit[column], c=colours[str(loss)], lw=0.7, alpha=0.9, zorder=2)
        best = fit["kept"].to_numpy(bool).argmax()
        axes.scatter(epochs.iloc[best], fit[column].iloc[best], s=9, c=colours[str(loss)],
                     edgecolors="white", lw=0.4, zorder=3)  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlim(left=0.5)
