"""Panel with the predictions for the cells of one label, on the types below that label."""

from collections.abc import Mapping, Sequence

import networkx as nx
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from hce.errors import UserError
from hce.figures import dag, style, tables

ABOVE, ELSEWHERE = "above", "elsewhere"
_STEP = 2.8  # distance of layers, in mm
_HEADER = 3 * style.ROW
_BAR = 13.0  # longest bar, in mm


def subgraph_of(types: pd.DataFrame, root: str) -> nx.DiGraph:
    """The graph of a type and all its descendants.

    Args:
        types: columns cl_id, label, parents, see `dag.graph_of`.
        root: cl_id of the type.

    Raises:
        UserError: the root is not a type of the run.
    """
    graph = dag.graph_of(types)
    if root not in graph:
        internal = [node for node in graph if graph.out_degree(node)]
        raise UserError(
            f"Config key figures.subgraph is {root}, which is not a type of this run; types with "
            "descendants are: "
            + (", ".join(f"{n} ({graph.nodes[n]['label']})" for n in internal) or "none")
            + "."
        )
    return graph.subgraph({root, *nx.descendants(graph, root)})


def shares(
    confusion: pd.DataFrame, types: pd.DataFrame, root: str, model: str, losses: Sequence[str]
) -> pd.DataFrame:
    """For the OOD cells with a label, the shares that are predicted as each type.

    Args:
        confusion: `confusion.tsv`: model, loss, seed, set, decoder, label, prediction, cells.
        types: `data_types.tsv`.
        root: cl_id of the label.
        model: the model.
        losses: the losses.

    Returns:
        One row per type at or below the root (by cl_id), one for all types above it (`ABOVE`)
        and one for all others (`ELSEWHERE`); one column per loss that has such cells. Means over
        seeds; each column sums to 1.
    """
    graph = dag.graph_of(types)
    cl_id = dict(zip(types["index"], types["cl_id"], strict=True))
    place = dict.fromkeys(graph, ELSEWHERE)
    place |= dict.fromkeys(nx.ancestors(graph, root), ABOVE)
    place |= {node: node for node in (root, *nx.descendants(graph, root))}
    rows = tables.one_decoder(
        confusion[(confusion["set"] == "ood") & (confusion["model"] == model)]
    )
    rows = rows[rows["label"].map(cl_id).eq(root) & rows["loss"].isin(losses)]
    by_place = rows["prediction"].map(cl_id).map(place).rename("place")
    counts = rows.groupby(["loss", "seed", by_place])["cells"].sum().unstack(fill_value=0)
    share = counts.div(counts.sum(axis=1), axis=0).groupby("loss").mean().T
    order = [*subgraph_of(types, root), ABOVE, ELSEWHERE]
    return share.reindex(index=order, columns=[x for x in losses if x in share], fill_value=0.0)


def height(graph: nx.DiGraph) -> float:
    """Height of the panel in mm."""
    return _HEADER + style.ROW * (len(graph) + 3.3)


def draw(axes: Axes, graph: nx.DiGraph, root: str, share: pd.DataFrame) -> None:
    """Draws the subgraph and, in line with each type, one bar per loss.

    Args:
        axes: a canvas in mm of the panel's `height`, see `style.canvas`.
        graph: see `subgraph_of`.
        root: cl_id of the label.
        share: see `shares`, with at least one column.
    """
    width = axes.get_xlim()[1]
    name = style.short(graph.nodes[root]["label"])
    (component,) = dag.arrange(graph)
    at = dag.place_nodes(component, 2.0, _HEADER, _STEP)
    bottom = _HEADER + style.ROW * len(graph)
    end = bottom + 3.3 * style.ROW
    at |= {ABOVE: (2.0, end - 1.5 * style.ROW), ELSEWHERE: (2.0, end - 0.5 * style.ROW)}
    labels = dict(graph.nodes(data="label")) | {
        ABOVE: f"an ancestor of {name}",
        ELSEWHERE: "any other type",
    }
    # All types below the root are credited, so all of them are tinted.
    axes.add_patch(Rectangle((0, _HEADER), width, bottom - _HEADER, fc=style.TINT, lw=0, zorder=0))
    dag.draw_edges(axes, component, at)
    starts = [
        width - (len(share.columns) - i) * (_BAR + 7.0) + 1.5 for i in range(len(share.columns))
    ]
    for node, (x, y) in at.items():
        credited = node in graph
        if credited:
            axes.scatter(x, y, s=9 if node == root else 5, c=style.INK, lw=0, zorder=3)
        axes.text(
            x + 1.8,
            y,
            style.fit(style.short(labels[node]), starts[0] - x - 3.0),
            va="center",
            color=style.INK if credited else style.MUTED,
            zorder=2,
            weight="bold" if node == root else "normal",
            bbox={"fc": style.TINT if credited else "white", "lw": 0, "pad": 0.3},
        )
    axes.text(
        1.0,
        _HEADER - 0.8,
        "credited: the label and its descendants",
        va="bottom",
        color=style.MUTED,
    )
    axes.text(1.0, end - 2.5 * style.ROW, "not credited", va="center", color=style.MUTED)
    _draw_bars(axes, graph, at, share, starts)


def _draw_bars(
    axes: Axes,
    graph: nx.DiGraph,
    at: Mapping[str, tuple[float, float]],
    share: pd.DataFrame,
    starts: Sequence[float],
) -> None:
    """Draws the share of each position in `at`, one column of bars per loss from its start (mm)."""
    end = max(y for _, y in at.values()) + 0.5 * style.ROW
    colours = style.loss_colours(list(share.columns))
    scale = _BAR / max(float(share.to_numpy().max()), 0.01)
    for start, loss in zip(starts, share.columns, strict=True):
        values = {str(node): float(value) for node, value in share[loss].items()}
        total = sum(values[node] for node in graph)
        axes.text(start, 0.9, style.name(loss), weight="bold", va="center")
        axes.text(start, _HEADER - 0.8, f"{100 * total:.0f}%", va="bottom", weight="bold")
        axes.plot([start, start], [_HEADER, end], c=style.RULE, lw=0.4, zorder=1)
        for node, (_, y) in at.items():
            length = values[node] * scale
            axes.add_patch(
                Rectangle(
                    (start, y - 0.32 * style.ROW),
                    length,
                    0.64 * style.ROW,
                    lw=0,
                    zorder=2,
                    fc=colours[loss] if node in graph else style.RULE,
                )
            )
            if values[node] >= 0.005:
                axes.text(start + length + 0.6, y, f"{100 * values[node]:.0f}", va="center")
