"""The hierarchy from top to bottom over the width of a figure, each type with its name below it."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from hce.figures import dag, marks, style
from hce.figures.changes import TypeChanges
from hce.figures.hierarchy import HierarchyPanel

_PITCH = 2.3  # distance of types, in mm
_CLOSEST = 2.1  # types that are closer have no names
_DEPTH = 3.2  # distance of layers
_LONGEST = 30.0  # length of names, in mm; S2 to S4 have whole ones
_BELOW = 1.5  # from a node to its first mark, and from mark to mark
_GRID = 3  # rows of the types that have neither relations nor a name


@dataclass(frozen=True)
class _Block:
    """Types side by side: a component, or types without relations.

    Attributes:
        component: what relates them; None for the types without relations.
        at: type → (y, x) in mm from the block's corner; as in `dag`, the layer's coordinate first.
        width: in mm.
        height: in mm, with names.
        named: whether the types have names.
    """

    component: dag.Component | None
    at: dict[str, tuple[float, float]]
    width: float
    height: float
    named: bool


class HierarchyStrip(HierarchyPanel):
    """Components side by side, the largest first, in as many rows as they take.

    Types without relations come last: those to be named in one column each, the others in a grid.
    """

    smallest, largest = 2.0, 12.0

    def __init__(self, types: pd.DataFrame, width: float, named: Collection[str]) -> None:
        """Lays out the strip.

        Args:
            types: `data_types.tsv`: cl_id, label, parents, train_cells.
            width: in mm.
            named: types without relations that have names; types with relations all have.
        """
        super().__init__(types)
        components = dag.arrange(dag.graph_of(types))
        blocks = [self._related(part, width) for part in components if len(part) > 1]
        alone = [next(iter(part.row)) for part in components if len(part) == 1]
        blocks += [self._alone([node]) for node in alone if node in named]
        if rest := [node for node in alone if node not in named]:
            blocks.append(_grid(rest))
        self.blocks: list[tuple[_Block, float, float]] = []  # with left and top
        left = top = height = 0.0
        for block in blocks:
            if left and left + block.width > width:
                left, top, height = 0.0, top + height + 2.0, 0.0
            self.blocks.append((block, left, top))
            left += block.width + (_PITCH if block.component else 0.0)
            height = max(height, block.height)
        self.height = top + height

    def _related(self, component: dag.Component, width: float) -> _Block:
        pitch = min(_PITCH, width / len(component))
        at = dag.place_nodes(component, 1.0, 0.0, _DEPTH, pitch)
        return self._block(component, at, pitch * len(component), named=pitch >= _CLOSEST)

    def _alone(self, nodes: list[str]) -> _Block:
        at = {node: (1.0, _PITCH * (i + 0.5)) for i, node in enumerate(nodes)}
        return self._block(None, at, _PITCH * len(nodes), named=True)

    def _block(
        self,
        component: dag.Component | None,
        at: dict[str, tuple[float, float]],
        width: float,
        named: bool,
    ) -> _Block:
        names = {node: style.text_width(self._name(node)) if named else 0.0 for node in at}
        marked = _BELOW * (len(marks.BESIDE) + 1)
        height = max(y + marked + names[node] for node, (y, _) in at.items())
        return _Block(component, at, width, height, named)

    def _name(self, node: str) -> str:
        return style.fit(style.short(self.label[node]), _LONGEST)

    def draw(self, axes: Axes, changes: TypeChanges, scale: Normalize) -> None:
        """See `HierarchyPanel.draw`; further scores have marks below the node."""
        nodes: dict[str, tuple[float, float]] = {}
        for block, left, top in self.blocks:
            at = {node: (top + y, left + x) for node, (y, x) in block.at.items()}
            nodes |= {node: (x, y) for node, (y, x) in at.items()}
            if block.component:
                dag.draw_edges(axes, block.component, at, downwards=True)
            if block.named:
                self._draw_names(axes, at, changes)
        self.draw_nodes(axes, nodes, changes, scale)
        for i, (kind, change) in enumerate(changes.beside.items()):
            x, y = np.array([nodes[node] for node in change.index]).reshape(-1, 2).T
            colours = style.CHANGE(scale(change.to_numpy(float)))
            marks.mark(axes, x, y + _BELOW * (i + 1), kind, 4.0, c=colours, lw=0.25)

    def _draw_names(
        self, axes: Axes, at: dict[str, tuple[float, float]], changes: TypeChanges
    ) -> None:
        known = set(changes.credited["cl_id"])
        for node, (y, x) in at.items():
            below = 0.6 + _BELOW * len(changes.beside) if node in known else 0.0
            axes.text(
                x,
                y + 0.9 + below,
                self._name(node),
                rotation=270,
                ha="center",
                va="top",
                zorder=2,
                bbox={"fc": "white", "lw": 0, "pad": 0.0},
                color=style.INK if node in known else style.MUTED,
            )


def _grid(nodes: list[str]) -> _Block:
    """Types without relations and names, in a few rows."""
    at = {}
    for i, node in enumerate(nodes):
        column, row = divmod(i, _GRID)
        at[node] = (1.0 + 1.6 * row, 1.6 * (column + 0.5))
    width = 1.6 * -(-len(nodes) // _GRID)
    return _Block(None, at, width, 1.6 * _GRID, named=False)
