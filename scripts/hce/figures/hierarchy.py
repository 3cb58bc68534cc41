"""The change of every type, drawn on the hierarchy of the types.

`HierarchyPage` has one row per type, with its name, in two columns. `HierarchyStrip` is small: all
types are side by side, and only large branches have names.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from hce.figures import dag, style
from hce.figures.changes import limit, significant
from hce.figures.style import MARGIN, ROW, WIDTH

KEY = 7.0
"""Height of the legend above a hierarchy, in mm."""
_STEP = 2.6  # distance between layers on a page, in mm
_NODE = 4.8  # width of a node and a star in a row, in mm
_DEPTH = 3.2  # distance between layers in a strip, in mm
_BLOCK = 3  # number of rows for the types without relations in a strip


class _Placed(NamedTuple):
    """A connected component, and the coordinates of its nodes in mm."""

    component: dag.Component
    at: dict[str, tuple[float, float]]


class _Hierarchy(ABC):
    """Common part of page and strip: colours and areas of nodes.

    Attributes:
        types: `data_types.tsv` by cl_id.
        label: cl_id → label.
        height: in mm.
    """

    smallest, largest = 3.0, 26.0  # areas of the rarest and the most frequent type, in points²
    height: float

    def __init__(self, types: pd.DataFrame) -> None:
        self.types = types.set_index("cl_id")
        self.label: dict[str, str] = dict(zip(self.types.index, self.types["label"], strict=True))

    def areas(self, cells: pd.Series | list[float]) -> np.ndarray:
        """Node areas in points²: linear in the logarithm of the number of training cells."""
        train = np.log10(self.types["train_cells"].clip(lower=1))
        low, high = float(train.min()), float(train.max())
        share = (np.log10(np.maximum(cells, 1)) - low) / max(high - low, 1e-9)
        return self.smallest + np.clip(share, 0, 1) * (self.largest - self.smallest)

    @abstractmethod
    def draw(self, axes: Axes, changes: pd.DataFrame) -> None:
        """Draws the panel.

        Args:
            axes: a canvas in mm of the panel's height, see `style.canvas`.
            changes: rows of `type_changes.tsv` of one model and loss; types without a row are
                drawn grey.
        """

    def _draw_nodes(
        self, axes: Axes, at: dict[str, tuple[float, float]], changes: pd.DataFrame
    ) -> None:
        change = changes.set_index("cl_id")["change"]
        for absent in (True, False):
            part = [node for node in at if (node not in change.index) == absent]
            fill = (
                style.ABSENT
                if absent
                else style.CHANGE(scale(changes)(change[part].to_numpy(float)))
            )
            axes.scatter(
                [at[node][0] for node in part],
                [at[node][1] for node in part],
                c=fill,
                edgecolors=style.ABSENT if absent else style.INK,
                s=self.areas(self.types.loc[part, "train_cells"]),
                lw=0.4,
                zorder=3,
            )


class HierarchyPage(_Hierarchy):
    """The hierarchy with every name, in two columns.

    Connected components come first, the largest on the left; types without relations are in a
    separate block.
    """

    def __init__(self, types: pd.DataFrame, width: float) -> None:
        """Lays out the panel.

        Args:
            types: `data_types.tsv`: cl_id, label, parents, train_cells.
            width: in mm.
        """
        super().__init__(types)
        self.column = (width - 4.0) / 2
        self.components: list[_Placed] = []
        self.isolated: dict[str, tuple[float, float]] = {}
        self.room: dict[str, float] = {}
        self._lay_out(dag.arrange(dag.graph_of(types)))

    def _lay_out(self, components: list[dag.Component]) -> None:
        lefts, used = (0.0, self.column + 4.0), [0.0, 0.0]
        for component in (part for part in components if len(part) > 1):
            side = int(used[1] < used[0])
            top = used[side] + (0.6 * ROW if used[side] else 0.0)
            at = dag.place_nodes(component, lefts[side] + 1.3, top, _STEP)
            self.components.append(_Placed(component, at))
            self.room |= {n: lefts[side] + self.column - x - 1.7 for n, (x, _) in at.items()}
            used[side] = top + ROW * len(component)
        side = int(used[1] < used[0])
        self.block = (lefts[side], used[side] + 0.6 * ROW)
        blocks = self._blocks([next(iter(part.row)) for part in components if len(part) == 1])
        left, top = self.block[0], self.block[1] + 1.2 * ROW
        for nodes, room in blocks:
            for i, node in enumerate(nodes):
                self.isolated[node] = (left + 1.3, top + ROW * (i + 0.5))
                self.room[node] = room - 2.0
            left += room
        if blocks:
            used[side] = top + ROW * max(len(nodes) for nodes, _ in blocks)
        self.height = max(used)

    def _blocks(self, nodes: list[str]) -> list[tuple[list[str], float]]:
        """Isolated types in one or two columns, with the columns' widths.

        Short names are in the right column, as many (up to half) as fit next to the long ones.
        """
        if not nodes:
            return []
        label = self.types["label"].map(style.short)
        by_width = sorted(nodes, key=lambda node: style.text_width(label[node]))
        widest = style.text_width(label[by_width[-1]]) + _NODE
        right = [
            node
            for node in by_width[: len(nodes) // 2]
            if widest + style.text_width(label[node]) + _NODE <= self.column
        ]
        left = [node for node in nodes if node not in set(right)]
        width = min(widest, self.column) if right else self.column
        return [
            (sorted(part, key=lambda node: label[node].lower()), room)
            for part, room in ((left, width), (right, self.column - width))
            if part
        ]

    def draw(self, axes: Axes, changes: pd.DataFrame) -> None:
        """See `_Hierarchy.draw`; significant changes get a star."""
        at = dict(self.isolated)
        for component, places in self.components:
            dag.draw_edges(axes, component, places)
            at |= places
        if self.isolated:
            axes.text(
                self.block[0],
                self.block[1] + 0.5 * ROW,
                "types without relations to others",
                va="center",
                color=style.MUTED,
            )
        self._draw_nodes(axes, at, changes)
        marked = set(changes["cl_id"][significant(changes)])
        known = set(changes["cl_id"])
        for node, (x, y) in at.items():
            star = " *" if node in marked else ""
            axes.text(
                x + 1.8,
                y,
                style.fit(style.short(self.label[node]) + star, self.room[node]),
                va="center",
                zorder=2,
                bbox={"fc": "white", "lw": 0, "pad": 0.2},
                color=style.INK if node in known else style.MUTED,
            )


class HierarchyStrip(_Hierarchy):
    """The hierarchy from top to bottom on a strip, with the names of branches that have room.

    Components are side by side, the largest on the left; types without relations are in a block on
    the right.
    """

    smallest, largest = 1.5, 9.0

    def __init__(self, types: pd.DataFrame, width: float) -> None:
        """Lays out the strip.

        Args:
            types: `data_types.tsv`: cl_id, label, parents, train_cells.
            width: in mm.
        """
        super().__init__(types)
        components = dag.arrange(dag.graph_of(types))
        connected = [part for part in components if len(part) > 1]
        isolated = [next(iter(part.row)) for part in components if len(part) == 1]
        columns = -(-len(isolated) // _BLOCK)
        taken = sum(map(len, connected)) + len(connected) + columns
        self.pitch = min(width / max(taken, 1), 2.2)
        # As in `dag`, the first coordinate is that of the layer; it becomes y when drawn.
        self.components: list[_Placed] = []
        self.at: dict[str, tuple[float, float]] = {}
        along = 0.0
        for component in connected:
            at = dag.place_nodes(component, _DEPTH, along, _DEPTH, self.pitch)
            self.components.append(_Placed(component, at))
            self.at |= {node: (x, y) for node, (y, x) in at.items()}
            along += self.pitch * (len(component) + 1)
        self.block = along
        for i, node in enumerate(isolated):
            row, column = divmod(i, columns)
            self.at[node] = (along + self.pitch * (column + 0.5), _DEPTH * (row + 1))
        self.height = max(y for _, y in self.at.values()) + 1.0

    def draw(self, axes: Axes, changes: pd.DataFrame) -> None:
        """See `_Hierarchy.draw`."""
        for component, at in self.components:
            dag.draw_edges(axes, component, at, downwards=True)
            for node, label in self._names(component).items():
                y, x = at[node]
                axes.text(
                    x + 0.5,  # to the right of the edge that leads to the node
                    y - 0.5,
                    label,
                    va="bottom",
                    zorder=2,
                    bbox={"fc": "white", "lw": 0, "pad": 0.2},
                )
        if self.block < max(x for x, _ in self.at.values()):
            room = axes.get_xlim()[1] - self.block
            words = style.fit("isolated", room)
            axes.text(self.block, _DEPTH - 1.2, words, va="bottom", color=style.MUTED)
        self._draw_nodes(axes, self.at, changes)

    def _names(self, component: dag.Component) -> dict[str, str]:
        """Internal type → its name, if the name is not wider than the bracket below it.

        The space above a bracket is free, because its branch fills the columns below.
        """
        end = dict(component.row)  # last column of the branch of each type
        for parent, child in reversed(component.tree):
            end[parent] = max(end[parent], end[child])
        names = {}
        for node in {parent for parent, _ in component.tree}:
            name = style.short(self.label[node])
            room = self.pitch * (end[node] - component.row[node] + 1)
            if style.text_width(name) + 1.0 <= room:
                names[node] = name
        return names


def scale(changes: pd.DataFrame) -> Normalize:
    """The colour scale: symmetric, so that white means no change."""
    largest = limit(changes)
    return Normalize(-largest, largest)


def draw_key(
    figure: Figure, top: float, panel: _Hierarchy, changes: pd.DataFrame, absent: str
) -> None:
    """Draws the legend of colours and areas.

    Args:
        figure: the figure.
        top: in mm.
        panel: the hierarchy that it explains.
        changes: the changes that are drawn on it.
        absent: the text to show if there are no changes.
    """
    key = style.canvas(figure, MARGIN, top, WIDTH - 2 * MARGIN, KEY)
    if changes.empty:
        key.text(0, 2.4, absent, va="center", color=style.MUTED)
    else:
        bar = style.place(figure, MARGIN + 4, top + 1.5, 32, 1.8)
        figure.colorbar(
            ScalarMappable(scale(changes), style.CHANGE),
            cax=bar,
            orientation="horizontal",
            format=lambda x, _: style.signed(x, 1),
        )
        bar.spines["outline"].set_linewidth(0.4)
        key.text(42, 2.4, "change of credited F1", va="center")
        key.text(76, 2.4, "not in the OOD data", va="center", color=style.MUTED)
        key.scatter(74.4, 2.4, s=panel.largest / 2, c=style.ABSENT, lw=0)
    _draw_sizes(key, panel)


def _draw_sizes(key: Axes, panel: _Hierarchy) -> None:
    """The legend of node areas, for powers of ten."""
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
