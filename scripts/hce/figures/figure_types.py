"""Supplementary Figures 2 to 4 and 7: the change of every type, model by model."""

import pandas as pd
from matplotlib.figure import Figure

from hce.figures import style
from hce.figures.changes import TypeChanges, draw_forest, forest_height, tested
from hce.figures.comparison import PUBLISHED_MODELS, Comparison
from hce.figures.hierarchy import KEY, HierarchyPage, colour_scale, draw_key
from hce.figures.style import MARGIN, TITLE, WIDTH

_GAP = 5.0  # between panels, in mm


def draw_on_hierarchy(
    overall: pd.DataFrame,
    type_changes: pd.DataFrame,
    data_types: pd.DataFrame,
    position: int,
    compared: str,
    note: str | None = None,
) -> Figure:
    """Draws the change of every type on the hierarchy, with all names, for one model.

    Args:
        overall: `overall.tsv`.
        type_changes: `type_changes.tsv`.
        data_types: `data_types.tsv`: index, cl_id, label, parents, train_cells, ….
        position: 0, 1 or 2, for the linear model, MLP and TabNet; see `Comparison.model_at`.
        compared: the loss whose changes are shown, see `Comparison.of`.
        note: a line for the top margin, such as "Simulated data".
    """
    with style.house_style():
        comparison = Comparison.of(overall, type_changes, compared)
        model = comparison.model_at(position)
        if model is None:
            published = style.name(PUBLISHED_MODELS[position])
            return style.empty_figure(
                f"The run has no fits of {published}, the model of this figure in the paper.", note
            )
        changes = comparison.changes(type_changes, model)
        panel = HierarchyPage(data_types, WIDTH - 2 * MARGIN)
        figure = style.new_figure(MARGIN + TITLE + KEY + panel.height + MARGIN, note)
        star = "" if changes.empty else "; * significant"
        if len(changes) and not tested(changes):
            star = "; one seed: no test"
        title = (
            f"Change of credited F1, OOD, on the hierarchy of the {len(data_types)} types "
            f"({comparison.difference}, {style.name(model)}{star})"
        )
        style.letter(figure, "", title, MARGIN, MARGIN)
        scale = colour_scale(comparison, type_changes)
        absent = comparison.why_absent(model) if changes.empty else ""
        draw_key(figure, MARGIN + TITLE - 2, panel, scale, absent)
        top = MARGIN + TITLE + KEY - 1
        canvas = style.canvas(figure, MARGIN, top, WIDTH - 2 * MARGIN, panel.height)
        panel.draw(canvas, TypeChanges(changes), scale)
        return figure


def draw_other_models(
    overall: pd.DataFrame,
    type_changes: pd.DataFrame,
    per_type: pd.DataFrame,
    model: str,
    compared: str,
    note: str | None = None,
) -> Figure:
    """Draws the change of every type for the models that Figure 2c does not show.

    Args:
        overall: `overall.tsv`.
        type_changes: `type_changes.tsv`.
        per_type: `per_type.tsv`.
        model: the model of Figure 2c.
        compared: the loss whose changes are shown, see `Comparison.of`.
        note: a line for the top margin, such as "Simulated data".
    """
    with style.house_style():
        comparison = Comparison.of(overall, type_changes, compared)
        others = [name for name in comparison.models if name != model]
        if not others:
            words = f"The run has no model besides {style.name(model)}, which Figure 2c shows."
            return style.empty_figure(words, note)
        changes = {
            name: TypeChanges.of(comparison, type_changes, per_type, name) for name in others
        }
        tops = [MARGIN]
        for name in others:
            tops.append(tops[-1] + TITLE + forest_height(changes[name]) + _GAP)
        figure = style.new_figure(tops[-1] - _GAP + MARGIN, note)
        for panel, name, top in zip("abcdefgh", others, tops, strict=False):
            title = (
                f"Change of credited F1 of each type, OOD ({comparison.difference}, "
                f"{style.name(name)})"
            )
            style.letter(figure, panel, title, MARGIN, top)
            draw_forest(figure, top, changes[name], comparison.why_absent(name))
        return figure
