"""Figure 2: what hierarchical cross-entropy changes on new studies."""

import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hce.figures import style, subgraph, tables
from hce.figures.bars import paired_lines
from hce.figures.changes import DagPanel, forest, limit, significant, tested
from hce.figures.style import MARGIN, ROW, WIDTH

_TITLE = 8.0  # height of a panel's letter and title, in mm
_GAP = 5.0  # between rows of panels, in mm
_LEFT = 116.0  # width of panel a, in mm
_NAMES = 52.0  # width of the names in panel c, in mm


def draw_figure_2(
    overall: pd.DataFrame,
    type_changes: pd.DataFrame,
    confusion: pd.DataFrame,
    data_types: pd.DataFrame,
    model: str,
    root: str,
    note: str | None = None,
) -> Figure:
    """Draws Figure 2, panels a to d. Its height follows from the number of types.

    Args:
        overall: `overall.tsv`: model, loss, seed, set, decoder, score, value.
        type_changes: `type_changes.tsv`.
        confusion: `confusion.tsv`: model, loss, seed, set, decoder, label, prediction, cells.
        data_types: `data_types.tsv`: index, cl_id, label, parents, train_cells, ….
        model: the model of panels a, c and d.
        root: cl_id of the type whose subgraph panel a shows.
        note: a line for the top margin, such as "Simulated data".

    Returns:
        The figure, 180 mm wide, for `style.save`.

    Raises:
        UserError: the root is not a type of the run.
    """
    with style.house_style():
        baseline = tables.baseline_of(type_changes)
        losses = tables.in_order(overall["loss"], baseline)
        compared = tables.compared_loss(losses, baseline)
        changes = tables.one_decoder(
            type_changes[
                (type_changes["set"] == "ood")
                & (type_changes["model"] == model)
                & (type_changes["baseline"] == baseline)
                & (type_changes["loss"] == compared)
            ]
        ).sort_values(["change", "label"], ascending=[False, True])
        graph = subgraph.subgraph_of(data_types, root)
        hierarchy = DagPanel(data_types, WIDTH - 2 * MARGIN)

        pair = [loss for loss in (baseline, compared) if loss in losses]
        share = subgraph.shares(confusion, data_types, root, model, pair)
        upper = 50.0 if share.empty else max(subgraph.height(graph), 50.0)
        middle = 4.0 + ROW * max(int(np.ceil(len(changes) / 2)), 6)
        tops = [MARGIN]
        for height in (upper, middle + 4.0, hierarchy.height + 7.0):
            tops.append(tops[-1] + _TITLE + height + _GAP)
        figure = style.new_figure(tops[3] - _GAP + MARGIN, note)

        _draw_subgraph(figure, tops[0], share, graph, root, model)
        ood = tables.scores(overall, "ood", "credited_macro_f1")
        _draw_pairs(figure, tops[0], upper, ood, losses)
        what = " \N{MINUS SIGN} ".join(map(style.name, reversed(pair))) + f", {style.name(model)}"
        absent = "" if len(changes) else _why_absent(overall, losses, baseline, model)
        _draw_forest(figure, tops[1], middle, changes, what, absent)
        _draw_hierarchy(figure, tops[2], hierarchy, changes, what, absent)
        return figure


def _why_absent(overall: pd.DataFrame, losses: list[str], baseline: str, model: str) -> str:
    """The words for a panel without changes."""
    if "ood" not in set(overall["set"]):
        return "The run has no OOD data."
    if baseline not in losses or len(losses) < 2:
        fitted = ", ".join(map(style.name, losses))
        return f"Nothing to compare with {style.name(baseline)}: the run's losses are {fitted}."
    return f"The run has no changes of {style.name(model)} to show."


def _draw_subgraph(
    figure: Figure, top: float, share: pd.DataFrame, graph: nx.DiGraph, root: str, model: str
) -> None:
    label = f"“{style.short(graph.nodes[root]['label'])}”"
    title = (
        f"Where OOD cells labelled {label} are predicted to be ({style.name(model)}, % of cells)"
    )
    style.letter(figure, "a", title, MARGIN, top)
    height = 50.0 if share.empty else subgraph.height(graph)
    axes = style.canvas(figure, MARGIN, top + _TITLE, _LEFT - MARGIN, height)
    if share.empty:
        style.say(axes, f"The run has no OOD cells labelled {label}.")
    else:
        subgraph.draw(axes, graph, root, share)


def _draw_pairs(
    figure: Figure, top: float, height: float, values: pd.DataFrame, losses: list[str]
) -> None:
    left = _LEFT + 8
    style.letter(figure, "b", "New studies, all models", left - 2, top)
    axes = style.place(figure, left + 8, top + _TITLE + 3, WIDTH - MARGIN - left - 8, height - 11)
    if values.empty:
        style.say(axes, "The run has no OOD data.")
        return
    models = list(dict.fromkeys(values["model"]))
    paired_lines(axes, values, models, losses)
    if len(losses) > 1:
        remark = f"lines: seeds; numbers: change from {style.name(losses[0])}, points"
        _remark(figure, left + 2.5, top, remark)


def _draw_forest(
    figure: Figure, top: float, height: float, changes: pd.DataFrame, what: str, absent: str
) -> None:
    style.letter(figure, "c", f"Change of credited F1 of each type, OOD ({what})", MARGIN, top)
    if changes.empty:
        style.say(style.canvas(figure, MARGIN, top + _TITLE, WIDTH - 2 * MARGIN, height), absent)
        return
    ends = changes[["change", "ci_low", "ci_high"]].to_numpy()
    # Wide intervals of few seeds are cut: they must not squeeze the changes themselves.
    largest = 1.5 * limit(changes)
    span = (
        max(-largest, min(0.0, np.nanmin(ends)) - 0.05),
        min(largest, max(0.0, np.nanmax(ends)) + 0.05),
    )
    half = int(np.ceil(len(changes) / 2))
    column = (WIDTH - 2 * MARGIN - 6) / 2
    for i, part in enumerate((changes.iloc[:half], changes.iloc[half:])):
        if part.empty:
            continue
        left = MARGIN + i * (column + 6)
        axes = style.canvas(figure, left, top + _TITLE + 4, column, ROW * len(part))
        forest(axes, part, _NAMES, span)
    if tested(changes):
        count = f"{significant(changes).sum()} of {len(changes)}"
        texts = {
            style.UP: f"significant: {count} (paired t-test over seeds, Holm–Bonferroni)",
            "white": "not significant",
        }
        handles = [
            Line2D([], [], ls="", marker="o", ms=3, mew=0.7, mec=style.UP, mfc=fill, label=text)
            for fill, text in texts.items()
        ]
        handles.append(Line2D([], [], lw=0.7, c=style.UP, label="confidence interval"))
        _legend(figure, top, handles)
    else:
        _remark(figure, MARGIN + 4.5, top, "one seed: no test")


def _draw_hierarchy(
    figure: Figure, top: float, panel: DagPanel, changes: pd.DataFrame, what: str, absent: str
) -> None:
    star = "" if changes.empty else "; * significant" if tested(changes) else "; one seed: no test"
    title = f"The change on the hierarchy of the {len(panel.types)} types ({what}{star})"
    style.letter(figure, "d", title, MARGIN, top)
    axes = style.canvas(figure, MARGIN, top + _TITLE + 7, WIDTH - 2 * MARGIN, panel.height)
    panel.draw(axes, changes)
    key = style.canvas(figure, MARGIN, top + _TITLE - 2, WIDTH - 2 * MARGIN, 7)
    if changes.empty:
        key.text(0, 3.5, absent, va="center", color=style.MUTED)
    else:
        bar = style.place(figure, MARGIN + 4, top + _TITLE - 0.5, 32, 1.8)
        figure.colorbar(
            ScalarMappable(panel.norm(changes), style.CHANGE),
            cax=bar,
            orientation="horizontal",
            format=lambda x, _: style.signed(x, 1),
        )
        bar.spines["outline"].set_linewidth(0.4)
        key.text(42, 2.4, "change of credited F1", va="center")
        key.text(76, 2.4, "not in the OOD data", va="center", color=style.MUTED)
        key.scatter(74.4, 2.4, s=14, c=style.ABSENT, lw=0)
    _draw_sizes(key, panel)


def _draw_sizes(key: Axes, panel: DagPanel) -> None:
    """The key of node areas, for powers of ten."""
    train = panel.types["train_cells"].clip(lower=1)
    powers = np.arange(np.ceil(np.log10(train.min())), np.floor(np.log10(train.max())) + 1)
    counts = [float(10**power) for power in powers[-4:]]
    if len(counts) < 2:
        counts = [float(train.min()), float(train.max())]
    x, y = key.get_xlim()[1], 2.4
    for count, area in reversed(list(zip(counts, panel.areas(counts), strict=True))):
        text = style.thousands(count)
        x -= style.text_width(text)
        key.text(x, y, text, va="center")
        x -= 1.6
        key.scatter(x, y, s=area, c="white", edgecolors=style.INK, lw=0.4)
        x -= 3.0
    key.text(x + 1.0, y, "training cells:", ha="right", va="center")


def _legend(figure: Figure, top: float, handles: list[Line2D]) -> None:
    """A legend below a panel's title."""
    page = figure.get_figheight() * 25.4
    figure.legend(
        handles=handles,
        loc="center left",
        ncols=len(handles),
        columnspacing=1.4,
        borderpad=0,
        bbox_to_anchor=((MARGIN + 4.5) / WIDTH, 1 - (top + 6.0) / page),
        handlelength=1.2,
    )


def _remark(figure: Figure, left: float, top: float, text: str) -> None:
    """A few words below a panel's title."""
    page = figure.get_figheight() * 25.4
    figure.text(left / WIDTH, 1 - (top + 6.0) / page, text, va="center", color=style.MUTED)
