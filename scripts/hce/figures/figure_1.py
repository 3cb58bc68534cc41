"""Figure 1: the data, the models, and the scores of every model and loss."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hce.figures import architectures, data_panels, marks, style, tables
from hce.figures.bars import F1, score_bars
from hce.figures.style import MARGIN, WIDTH

# Top of each row of panels, in mm; the last row follows the models.
_DATA = 4.0
_MODELS = 80.0
_SCORES = 68.0  # height of the last row


def draw_figure_1(
    overall: pd.DataFrame,
    data_totals: pd.DataFrame,
    data_tissues: pd.DataFrame,
    data_types: pd.DataFrame,
    models: pd.DataFrame,
    agreement: pd.DataFrame,
    releases: dict[str, str],
    note: str | None = None,
) -> Figure:
    """Draws Figure 1.

    Args:
        overall: `overall.tsv`: model, loss, seed, set, decoder, score, value.
        data_totals: `data_totals.tsv`: set, cells, types, donors, studies, tissues.
        data_tissues: `data_tissues.tsv`: set, tissue_general, cells.
        data_types: `data_types.tsv`: index, cl_id, label, …, train_cells, cells_<set>.
        models: `models.tsv`, see `model_summary.describe_models`.
        agreement: `agreement.tsv`, see `hce.leakage.agreement`; empty where it was not measured.
        releases: evaluation set → release of its cells.
        note: a line for the top margin, such as "Simulated data".

    Returns:
        The figure, 180 mm wide, for `style.save`.
    """
    with style.house_style():
        models_height = architectures.height(models)
        scores_top = _MODELS + 2 + models_height + 7
        figure = style.new_figure(scores_top + _SCORES, note)
        _draw_data(figure, data_totals, data_tissues, data_types)
        style.letter(figure, "c", "Models", MARGIN, _MODELS)
        canvas = style.canvas(figure, MARGIN, _MODELS + 2, WIDTH - 2 * MARGIN, models_height)
        architectures.architectures(canvas, models)
        ceilings = marks.ceilings(agreement, releases.get("ood", ""))
        _draw_scores(figure, scores_top, overall, data_types, ceilings)
        return figure


def _draw_data(
    figure: Figure,
    data_totals: pd.DataFrame,
    data_tissues: pd.DataFrame,
    data_types: pd.DataFrame,
) -> None:
    style.letter(figure, "a", "Cells, and the tissues they are from", MARGIN, _DATA)
    data_panels.totals(style.canvas(figure, MARGIN, 10, 80, 20), data_totals)
    axes = style.place(figure, MARGIN + 27, 36, 53, 32)
    data_panels.tissues(axes, data_tissues)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1.01), ncols=2, columnspacing=1.2)

    style.letter(figure, "b", "Cells of each type", 90, _DATA)
    axes = style.place(figure, 106, 20, WIDTH - MARGIN - 106, 48)
    data_panels.types_by_rank(axes, data_types)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.01))


def _draw_scores(
    figure: Figure,
    top: float,
    overall: pd.DataFrame,
    data_types: pd.DataFrame,
    ceilings: Mapping[str, float],
) -> None:
    every = tables.scores(overall, "id", "credited_macro_f1")
    shared = tables.scores(overall, "id", "credited_macro_f1_ood_types")
    ood = tables.scores(overall, "ood", "credited_macro_f1")
    fits = pd.concat([every, ood])
    models = list(dict.fromkeys(fits["model"]))
    losses = tables.in_order(fits["loss"])
    levels = {
        (str(model), str(loss)): float(fits["value"].mean())
        for (model, loss), fits in shared.groupby(["model", "loss"])
    }
    in_id = (data_types["cells_id"] > 0).sum() if "cells_id" in data_types else 0
    in_ood = (data_types["cells_ood"] > 0).sum() if "cells_ood" in data_types else 0

    width, gap, left = 50.0, 5.0, MARGIN + 9
    lefts = [left, left + width + gap, WIDTH - MARGIN - width]
    style.letter(figure, "d", "Held-out cells (ID)", MARGIN, top)
    style.letter(figure, "e", "New studies (OOD)", lefts[2] - 6, top)
    beside = [
        marks.scores_beside(overall, *where) for where in (("id",), ("id", "_ood_types"), ("ood",))
    ]
    handles = marks.handles(marks.BESIDE, ", mean over seeds")
    handles += [marks.ceiling_handle()] if ceilings else []
    style.legend(figure, MARGIN + 4.5, top, handles)
    panels = (
        (every, f"mean over all {in_id} types", None, "The run has no ID scores."),
        (
            shared,
            f"mean over the {in_ood} OOD types",
            None,
            "No ID scores\nover the OOD types:\nthe run has no OOD data.",
        ),
        (ood, f"mean over the {in_ood} OOD types", levels, "The run has no OOD data."),
    )
    for i, (values, title, lines, otherwise) in enumerate(panels):
        axes = style.place(figure, lefts[i], top + 11, width, 43)
        if values.empty:
            style.say(axes, otherwise)
            continue
        score_bars(axes, values, models, losses, lines, beside[i])
        _draw_ceilings(axes, ceilings if i == len(panels) - 1 else {})
        axes.set_title(title, fontsize=style.SMALL, color=style.MUTED, loc="left")
        if i == 0:
            axes.set_ylabel(F1)
        else:
            axes.tick_params(axis="y", labelleft=i == 2)
    _draw_legend(figure, top, losses, bool(levels))


def _draw_ceilings(axes: Axes, ceilings: Mapping[str, float]) -> None:
    """Draws how far two studies agree by each score, with the mark of the score at the right."""
    left, right = axes.get_xlim()
    for kind, ceiling in ceilings.items():
        marks.draw_ceiling(axes, ceiling, left, right)
        marks.mark(axes, [right], [ceiling], kind, edgecolors=style.MUTED, clip_on=False)


def _draw_legend(figure: Figure, top: float, losses: list[str], levels: bool) -> None:
    colours = style.loss_colours(losses)
    handles: list[Patch | Line2D] = [
        Patch(fc=colours[loss], label=style.name(loss)) for loss in losses
    ]
    handles.append(style.seed_handle())
    if levels:
        text = "ID, same types, model and loss"
        handles.append(Line2D([], [], ls=(0, (2.2, 1.2)), lw=1, c=style.INK, label=text))
    figure.legend(
        handles=handles,
        loc="lower right",
        ncols=len(handles),
        columnspacing=1.4,
        bbox_to_anchor=(1 - MARGIN / WIDTH, 2.0 / (top + _SCORES)),
    )
