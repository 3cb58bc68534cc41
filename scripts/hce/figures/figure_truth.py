"""Scores against the truth: which of them ranks losses and decoders as the finest types do?"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hce.evaluation.truth import pair_scores, rank_agreement
from hce.figures import style, tables
from hce.figures.style import MARGIN, TITLE

SCORES = {
    "credited_macro_f1": "credited",
    "study_aware_macro_f1": "study-aware",
    "exact_macro_f1": "exact",
}
_SETS = ("ood", "id")
_PANEL, _GAP = 33.0, 5.0  # of the scatter plots, in mm
_LEFT = MARGIN + 10.0
_TOP = MARGIN + TITLE + 5.0
_ROW = _PANEL + 14.0


def draw_truth(
    truth: pd.DataFrame, overall: pd.DataFrame, model: str, note: str | None = None
) -> Figure:
    """Draws each score against the truth, and how well their rankings agree.

    Args:
        truth: `truth.tsv`: model, loss, seed, set, decoder, score, value.
        overall: `overall.tsv`; a score of `SCORES` that it lacks is left out.
        model: the model of panel a.
        note: a line for the top margin, such as "Simulated data".
    """
    pairs = pair_scores(truth, overall, SCORES)
    of_model = pairs[pairs["model"] == model]
    sets = [name for name in _SETS if name in set(of_model["set"])]
    with style.house_style():
        if not sets:
            return style.empty_figure("The run has no truth of ID or OOD cells.", note)
        scores = [score for score in SCORES if score in set(pairs["score"])]
        losses = tables.in_order(of_model["loss"])
        markers = style.decoder_shapes(of_model["decoder"])
        figure = style.new_figure(_TOP + _ROW * len(sets) + 2, note)
        title = f"Scores by the author's labels and by the truth, {style.name(model)}"
        style.letter(figure, "a", title, MARGIN, MARGIN)
        style.legend(figure, MARGIN + 4.5, MARGIN, style.loss_handles(losses))
        style.legend(figure, MARGIN + 4.5, MARGIN + 4, style.decoder_handles(markers))
        right = _LEFT + len(SCORES) * (_PANEL + _GAP) + 10
        style.letter(figure, "b", "Same ranking? Spearman's rho", right - 10, MARGIN)
        agreement = rank_agreement(truth, overall, scores)
        for i, name in enumerate(sets):
            of_set = of_model[of_model["set"] == name]
            for j, score in enumerate(scores):
                left, top = _LEFT + j * (_PANEL + _GAP), _TOP + i * _ROW
                axes = style.place(figure, left, top + 3, _PANEL, _PANEL)
                _scatter(axes, of_set[of_set["score"] == score], losses, markers)
                axes.set_xlabel(f"{SCORES[score]} macro F1")
                axes.tick_params(axis="y", labelleft=j == 0)
                if j == 0:
                    axes.set_ylabel("hierarchical F1 by the truth")
                    words = style.name(name)
                    axes.set_title(words, fontsize=style.SMALL, loc="left", weight="bold")
            axes = style.place(figure, right, _TOP + i * _ROW + 3, 38.0, _PANEL)
            _table(axes, agreement[agreement["set"] == name], scores)
        return figure


def _scatter(axes: Axes, pairs: pd.DataFrame, losses: list[str], markers: dict[str, str]) -> None:
    """A mark per loss (colour) and decoder (shape)."""
    colours = style.loss_colours(losses)
    for row in pairs.to_dict("records"):
        axes.scatter(
            row["value"],
            row["truth"],
            s=14,
            marker=markers[row["decoder"]],
            c=colours[row["loss"]],
            alpha=0.85,
            lw=0,
            zorder=3,
        )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.margins(0.08)


def _table(axes: Axes, agreement: pd.DataFrame, scores: list[str]) -> None:
    """A row per model, a column per score: the rank correlation with the truth."""
    models = list(dict.fromkeys(agreement["model"]))
    found = agreement.pivot(index="model", columns="score", values="rho")
    values = found.reindex(index=models, columns=scores).to_numpy(float)
    for (i, j), rho in np.ndenumerate(values):
        tint = style.CHANGE(0.5 + 0.3 * float(np.nan_to_num(rho)))
        axes.fill_between([j - 0.48, j + 0.48], i - 0.45, i + 0.45, color=tint, lw=0)
        text = "–" if np.isnan(rho) else style.signed(rho, 2)
        axes.text(j, i, text, ha="center", va="center")
    # Rows are as high as with four models, so that one model's row is not a tower.
    axes.set(xlim=(-0.5, len(SCORES) - 0.5), ylim=(max(len(models), 4) - 0.5, -0.5))
    axes.set_xticks(range(len(scores)), labels=[SCORES[score] for score in scores])
    axes.set_yticks(range(len(models)), labels=[style.name(model) for model in models])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
