"""The change of every type on the hierarchy of the types, one row per type; and its legend."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from hce.figures import dag, marks, style
from hce.figures.changes import TypeChanges, limit, significant
from hce.figures.comparison import Comparison
from hce.figures.style import MARGIN, ROW, WIDTH

KEY = 7.0
"""Height of the legend above a hierarchy, in mm."""
_STEP = 2.6  # distance between layers on a page, in mm
_NODE = 4.8  # width of a node and a star in a row, in mm


class Placed(NamedTuple):
    """A connected component, and the coordinates of its nodes in mm."""

    component: dag.Component
    at: dict[str, tuple[float, float]]


class HierarchyPanel(ABC):
    """Common part of the drawings of the hierarchy: colours and areas of nodes.

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
    def draw(self, axes: Axes, changes: TypeChanges, scale: Normalize) -> None:
        """Draws the panel.

        Args:
            axes: a canvas in mm of the panel's height, see `style.canvas`.
            changes: of one model; types without one are drawn grey.
            scale: see `colour_scale`.
        """

    def draw_nodes(
        self,
        axes: Axes,
        at: dict[str, tuple[float, float]],
        changes: TypeChanges,
        scale: Normalize,
    ) -> None:
        """Draws a node for each type at its place."""
        change = changes.credited.set_index("cl_id")["change"]
        for absent in (True, False):
            part = [node for node in at if (node not in change.index) == absent]
            fill = style.ABSENT if absent else style.CHANGE(scale(change[part].to_numpy(float)))
            axes.scatter(
                [at[node][0] for node in part],
                [at[node][1] for node in part],
                c=fill,
                edgecolors=style.ABSENT if absent else style.INK,
                s=self.areas(self.types.loc[part, "train_cells"]),
                lw=0.4,
                zorder=3,
            )


class HierarchyPage(HierarchyPanel):
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
        self.components: list[Placed] = []
        self.isolated: dict[str, tuple[float, float]] = {}
        self.room: dict[str, float] = {}
        self._lay_out(dag.arrange(dag.graph_of(types)))

    def _lay_out(self, components: list[dag.Component]) -> None:
        lefts, used = (0.0, self.column + 4.0), [0.0, 0.0]
        for component in (part for part in components if len(part) > 1):
            side = int(used[1] < used[0])
            top = used[side] + (0.6 * ROW if used[side] else 0.0)
            at = dag.place_nodes(component, lefts[side] + 1.3, top, _STEP)
            self.components.append(Placed(component, at))
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

    def draw(self, axes: Axes, changes: TypeChanges, scale: Normalize) -> None:
        """See `HierarchyPanel.draw`; significant changes get a star."""
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
        self.draw_nodes(axes, at, changes, scale)
        known = set(changes.credited["cl_id"])
        marked = set(changes.credited["cl_id"][significant(changes.credited)])
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


def colour_scale(comparison: Comparison, type_changes: pd.DataFrame) -> Normalize:
    """The colours of changes, the same for all models of a run; white means no change."""
    largest = limit(
        pd.concat([comparison.changes(type_changes, model) for model in comparison.models])
    )
    return Normalize(-largest, largest)


def draw_key(
    figure: Figure,
    top: float,
    panel: HierarchyPanel,
    scale: Normalize,
    absent: str,
    kinds: Sequence[str] = (),
) -> None:
    """Draws the legend of colours and areas.

    Args:
        figure: the figure.
        top: in mm.
        panel: the hierarchy that it explains.
        scale: see `colour_scale`.
        absent: the text to show if there are no changes, otherwise "".
        kinds: of the scores that have marks beside the nodes, see `marks`.
    """
    key = style.canvas(figure, MARGIN, top, WIDTH - 2 * MARGIN, KEY)
    _draw_sizes(key, panel)
    if absent:
        key.text(0, 2.4, absent, va="center", color=style.MUTED)
        return
    bar = style.place(figure, MARGIN + 4, top + 1.5, 32, 1.8)
    figure.colorbar(
        ScalarMappable(scale, style.CHANGE),
        cax=bar,
        orientation="horizontal",
        ticks=np.linspace(scale.vmin or 0, scale.vmax or 0, 5),
        format=lambda x, _: style.signed(x, 2).removesuffix("0") if x else "0",
    )
    bar.spines["outline"].set_linewidth(0.4)
    x = 39.0
    key.text(x, 2.4, f"change of {'' if kinds else 'credited '}F1", va="center")
    x += 15.0 if kinds else 25.0
    for kind in ("credited", *kinds) if kinds else ():
        key.scatter(x + 1, 2.4, s=7, marker=marks.SHAPES[kind], c="white", ec=style.INK, lw=0.4)
        key.text(x + 2.4, 2.4, marks.WORDS[kind], va="center")
        x += style.text_width(marks.WORDS[kind]) + 4.5
    key.scatter(x + 1, 2.4, s=panel.largest / 2, c=style.ABSENT, lw=0)
    key.text(x + 2.6, 2.4, "no OOD cells", va="center", color=style.MUTED)


def _draw_sizes(key: Axes, panel: HierarchyPanel) -> None:
    """The legend of node areas, for powers of ten."""
    train = panel.types["train_cells"].clip(lower=1)
    powers = np.arange(np.ceil(np.log10(train.min())), np.floor(np.log10(train.max())) + 1)
    counts = [float(train.min()), float(train.max())]
    if len(powers) > 1:
        counts = [float(10 ** powers[0]), float(10 ** powers[-1])]
    x, y = key.get_xlim()[1], 2.4
    for count, area in reversed(list(zip(counts, panel.areas(counts), strict=True))):
        text = style.thousands(count)
        x -= style.text_width(text)
        key.text(x, y, text, va="center")
        x -= 1.6
        key.scatter(x, y, s=area, c="white", edgecolors=style.INK, lw=0.4)
        x -= 3.0
    key.text(x + 1.0, y, "training cells:", ha="right", va="center")
