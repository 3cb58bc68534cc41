"""Figure 2: what hierarchical cross-entropy changes on new studies."""

import networkx as nx
import pandas as pd
from matplotlib.figure import Figure

from hce.figures import marks, style, subgraph, tables
from hce.figures.bars import paired_lines
from hce.figures.changes import TypeChanges, draw_forest, forest_height
from hce.figures.comparison import Comparison
from hce.figures.hierarchy import KEY, colour_scale, draw_key
from hce.figures.hierarchy_strip import HierarchyStrip
from hce.figures.style import MARGIN, TITLE, WIDTH

_GAP = 5.0  # between rows of panels, in mm
_LEFT = 116.0  # width of panel a, in mm


def draw_figure_2(
    overall: pd.DataFrame,
    type_changes: pd.DataFrame,
    per_type: pd.DataFrame,
    confusion: pd.DataFrame,
    data_types: pd.DataFrame,
    model: str,
    root: str,
    compared: str,
    note: str | None = None,
) -> Figure:
    """Draws Figure 2, panels a to d. Its height depends on the number of types.

    Args:
        overall: `overall.tsv`: model, loss, seed, set, decoder, score, value.
        type_changes: `type_changes.tsv`.
        per_type: `per_type.tsv`.
        confusion: `confusion.tsv`: model, loss, seed, set, decoder, label, prediction, cells.
        data_types: `data_types.tsv`: index, cl_id, label, parents, train_cells, ….
        model: the model of panels a, c and d.
        root: cl_id of the type whose subgraph panel a shows.
        compared: the loss whose changes are shown, see `Comparison.of`.
        note: a line for the top margin, such as "Simulated data".

    Returns:
        The figure, 180 mm wide, for `style.save`.

    Raises:
        UserError: the root is not a type of the run.
    """
    with style.house_style():
        comparison = Comparison.of(overall, type_changes, compared)
        changes = TypeChanges.of(comparison, type_changes, per_type, model)
        absent = comparison.why_absent(model)
        what = f"{comparison.difference}, {style.name(model)}"
        graph = subgraph.subgraph_of(data_types, root)
        strip = HierarchyStrip(data_types, WIDTH - 2 * MARGIN, set(changes.credited["cl_id"]))

        share = subgraph.shares(confusion, data_types, root, model, comparison.pair)
        upper = 50.0 if share.empty else max(subgraph.height(graph), 50.0)
        tops = [MARGIN]
        for height in (upper, forest_height(changes) + 4.0, strip.height + KEY):
            tops.append(tops[-1] + TITLE + height + _GAP)
        figure = style.new_figure(tops[3] - _GAP + MARGIN, note)

        _draw_subgraph(figure, tops[0], share, graph, root, model)
        _draw_pairs(figure, tops[0], upper, overall, list(comparison.losses))
        title = f"Change of credited F1 of each type, OOD ({what})"
        style.letter(figure, "c", title, MARGIN, tops[1])
        draw_forest(figure, tops[1], changes, absent)
        title = f"The change on the hierarchy of the {len(data_types)} types ({what})"
        style.letter(figure, "d", title, MARGIN, tops[2])
        scale = colour_scale(comparison, type_changes)
        missing = absent if changes.credited.empty else ""
        draw_key(figure, tops[2] + TITLE - 2, strip, scale, missing, list(changes.beside))
        top = tops[2] + TITLE - 2 + KEY
        canvas = style.canvas(figure, MARGIN, top, WIDTH - 2 * MARGIN, strip.height)
        strip.draw(canvas, changes, scale)
        return figure


def _draw_subgraph(
    figure: Figure, top: float, share: pd.DataFrame, graph: nx.DiGraph, root: str, model: str
) -> None:
    label = f"“{style.short(graph.nodes[root]['label'])}”"
    title = f"Predictions for OOD cells labelled {label} ({style.name(model)}, % of cells)"
    style.letter(figure, "a", title, MARGIN, top)
    height = 50.0 if share.empty else subgraph.height(graph)
    axes = style.canvas(figure, MARGIN, top + TITLE, _LEFT - MARGIN, height)
    if share.empty:
        style.say(axes, f"The run has no OOD cells labelled {label}.")
    else:
        subgraph.draw(axes, graph, root, share)


def _draw_pairs(
    figure: Figure, top: float, height: float, overall: pd.DataFrame, losses: list[str]
) -> None:
    values = tables.scores(overall, "ood", "credited_macro_f1")
    beside = marks.scores_beside(overall, "ood")
    left = _LEFT + 8
    style.letter(figure, "b", "New studies, all models", left - 2, top)
    axes = style.place(figure, left + 8, top + TITLE + 3, WIDTH - MARGIN - left - 8, height - 11)
    if values.empty:
        style.say(axes, "The run has no OOD data.")
        return
    models = list(dict.fromkeys(values["model"]))
    paired_lines(axes, values, models, losses, beside)
    style.legend(figure, left + 2.5, top + 4, marks.handles(beside, ", mean"))
    if len(losses) > 1:
        remark = f"lines: one seed; numbers: points from {style.name(losses[0])}"
        style.remark(figure, left + 2.5, top, remark)
