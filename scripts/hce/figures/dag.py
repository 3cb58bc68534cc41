"""Layout of the hierarchy of types: layers from left to right, one row per type.

The layer of a type is the length of the longest chain of types above it, so every edge points to
the right. Each type has its own row, with room for its name. The edges to the deepest parents form
a forest, drawn as solid brackets that do not cross names; the few other edges are dashed.
"""

from dataclasses import dataclass
from typing import Any

import networkx as nx
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from hce.figures import style

_CORNER = 0.6  # radius of a bracket's corner, in mm
# Distances of dashed edges from their parents' layer, in mm: between its nodes and their names.
_BESIDE = (0.7, 1.3)


@dataclass(frozen=True)
class Component:
    """Layout of a connected part of the hierarchy. Types are given by cl_id.

    Attributes:
        layer: type → column, 0 for types without a parent.
        row: type → row, from the top; each of the rows 0…n-1 has one type.
        tree: (parent, child) edges of the forest, one for each type that has a parent.
        others: the remaining edges.
    """

    layer: dict[str, int]
    row: dict[str, int]
    tree: tuple[tuple[str, str], ...]
    others: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.row)


def graph_of(types: pd.DataFrame) -> nx.DiGraph:
    """The graph of parent → child edges.

    Args:
        types: columns cl_id, label and parents (";"-joined cl_ids; missing without parents).
            Parents that are not among the types are left out.
    """
    graph = nx.DiGraph()
    for cl_id, label in zip(types["cl_id"], types["label"], strict=True):
        graph.add_node(cl_id, label=label)
    for cl_id, parents in zip(types["cl_id"], types["parents"].fillna(""), strict=True):
        for parent in filter(None, parents.split(";")):
            if parent in graph:
                graph.add_edge(parent, cl_id)
    return graph


def arrange(graph: nx.DiGraph) -> list[Component]:
    """Lays out every connected component, the largest first."""
    parts = [graph.subgraph(part) for part in nx.weakly_connected_components(graph)]
    components = [_arrange(part) for part in parts]
    return sorted(components, key=lambda part: (-len(part), min(part.row)))


def _arrange(graph: nx.DiGraph) -> Component:
    layer: dict[str, int] = {}
    for node in nx.lexicographical_topological_sort(graph):
        layer[node] = max((layer[parent] + 1 for parent in graph.predecessors(node)), default=0)
    bracket = {
        node: max(sorted(graph.predecessors(node)), key=lambda parent: layer[parent])
        for node in graph
        if graph.in_degree(node)
    }
    children: dict[str, list[str]] = {node: [] for node in graph}
    size = dict.fromkeys(graph, 1)
    for node in sorted(bracket, key=lambda node: -layer[node]):
        children[bracket[node]].append(node)
        size[bracket[node]] += size[node]

    # Small branches first, so that long brackets do not span short ones.
    def small_first(node: str) -> tuple[int, str]:
        return size[node], style.short(graph.nodes[node]["label"])

    row: dict[str, int] = {}
    stack = sorted((n for n in graph if n not in bracket), key=small_first, reverse=True)
    while stack:
        node = stack.pop()
        row[node] = len(row)
        stack += sorted(children[node], key=small_first, reverse=True)
    tree = sorted(((parent, node) for node, parent in bracket.items()), key=lambda e: row[e[1]])
    others = sorted(set(graph.edges) - set(tree), key=lambda e: row[e[1]])
    return Component(layer, row, tuple(tree), tuple(others))


def draw_edges(
    axes: Axes, component: Component, at: dict[str, tuple[float, float]], downwards: bool = False
) -> None:
    """Draws the edges of a component.

    Args:
        axes: with data units of mm, the y axis pointing down (see `style.canvas`).
        component: what to draw.
        at: type → (x, y) of its node.
        downwards: draws (y, x) instead of (x, y), so that layers go from top to bottom.
    """
    for parent, child in component.tree:
        (x, y), end = at[parent], at[child]
        _draw_edge(axes, [(x, y)], x, end, style.RULE, "solid", downwards)
    # Dashed edges run between layers, away from brackets, with a separate lane for each parent.
    nearest, farthest = _BESIDE
    bends: dict[int, dict[str, float]] = {}
    for parent, child in component.others:
        (x, y), end = at[parent], at[child]
        of_layer = bends.setdefault(component.layer[parent], {})
        bend = of_layer.setdefault(parent, min(nearest + 0.2 * len(of_layer), farthest))
        x_between = x + bend
        line = (0, (2, 1.2))
        _draw_edge(axes, [(x, y), (x_between, y)], x_between, end, style.MUTED, line, downwards)


def _draw_edge(
    axes: Axes,
    start: list[tuple[float, float]],
    x: float,
    end: tuple[float, float],
    colour: str,
    line: Any,
    downwards: bool,
) -> None:
    """Draws a line along `start`, up or down at x, and with a round corner to the end."""
    corner = _CORNER if end[1] > start[0][1] else -_CORNER
    points = [*start, (x, end[1] - corner), (x, end[1]), (x + _CORNER, end[1]), end]
    if downwards:
        points = [(y, x) for x, y in points]
    codes = [Path.MOVETO, *[Path.LINETO] * len(start), Path.CURVE3, Path.CURVE3, Path.LINETO]
    axes.add_patch(PathPatch(Path(points, codes), fill=False, lw=0.5, ec=colour, ls=line, zorder=1))


def place_nodes(
    component: Component, left: float, top: float, step: float, height: float = style.ROW
) -> dict[str, tuple[float, float]]:
    """Coordinates of the nodes: type → (x, y) in mm.

    Args:
        component: what to place.
        left: x of the first layer.
        top: upper edge of the first row.
        step: distance between layers.
        height: height of a row.
    """
    return {
        node: (left + step * component.layer[node], top + height * (row + 0.5))
        for node, row in component.row.items()
    }
