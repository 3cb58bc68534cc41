"""Panels that show by how much the credited F1 of each type changes from one loss to another."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from hce.figures import dag, style

_STEP = 2.6  # distance of layers, in mm
_AREAS = (3.0, 26.0)  # of the nodes for the rarest and the most frequent type, in points²
_NODE = 4.8  # what a node and a star take of a row's width, in mm


def significant(changes: pd.DataFrame) -> pd.Series:
    """Which changes are significant, as booleans; the column may hold text or be missing."""
    return changes["significant"].astype(str).str.lower().isin(["true", "1", "1.0"])


def tested(changes: pd.DataFrame) -> bool:
    """Whether there were runs enough for a test."""
    return bool(changes["p"].notna().any())


def limit(changes: pd.DataFrame) -> float:
    """A symmetric limit for scales of the change: its largest size, rounded up to 0.1."""
    largest = changes["change"].abs().max() if len(changes) else 0.0
    return max(0.1, float(np.ceil(largest * 10) / 10))


def forest(axes: Axes, changes: pd.DataFrame, names: float, span: tuple[float, float]) -> None:
    """Draws a row a type: its name, the change as a dot, its confidence interval as a line.

    Args:
        axes: a canvas in mm, a `style.ROW` a type, see `style.canvas`.
        changes: rows of `type_changes.tsv` of one model and loss, in the order to be drawn.
        names: width for the names, in mm.
        span: lowest and highest change that the scale shows.
    """
    width, height = axes.get_xlim()[1], axes.get_ylim()[0]
    low, high = span

    def x_of(change: Any) -> Any:
        return names + 2.0 + (change - low) / (high - low) * (width - names - 2.0)

    y = style.ROW * (np.arange(len(changes)) + 0.5)
    step = 0.5 if high - low > 1.0 else 0.2
    for tick in np.arange(np.ceil(low / step), np.floor(high / step + 1e-9) + 1) * step:
        zero = abs(tick) < 1e-9
        axes.plot(
            [x_of(tick)] * 2,
            [0, height],
            c=style.INK if zero else style.ABSENT,
            lw=0.6 if zero else 0.35,
            zorder=1,
        )
        axes.text(x_of(tick), -0.6, style.signed(tick, 1), ha="center", va="bottom")
    colours = [style.DOWN if change < 0 else style.UP for change in changes["change"]]
    axes.hlines(
        y,
        x_of(changes["ci_low"].clip(low, high)),
        x_of(changes["ci_high"].clip(low, high)),
        color=colours,
        lw=0.7,
        zorder=2,
    )
    fills = [c if s else "white" for c, s in zip(colours, significant(changes), strict=True)]
    axes.scatter(x_of(changes["change"]), y, s=9, lw=0.7, zorder=3, edgecolors=colours, c=fills)
    for label, line in zip(changes["label"], y, strict=True):
        axes.text(names, line, style.fit(style.short(label), names), ha="right", va="center")


class DagPanel:
    """The change of every type on the hierarchy, in two columns.

    Connected components come first, the largest on the left; types without relations stand in
    a block of their own.
    """

    def __init__(self, types: pd.DataFrame, width: float) -> None:
        """Lays out the panel.

        Args:
            types: `data_types.tsv`: cl_id, label, parents, train_cells.
            width: in mm.
        """
        self.types = types.set_index("cl_id")
        self.column = (width - 4.0) / 2
        self.components: list[tuple[dag.Component, dict[str, tuple[float, float]]]] = []
        self.isolated: dict[str, tuple[float, float]] = {}
        self.room: dict[str, float] = {}
        self._lay_out(dag.arrange(dag.graph_of(types)))

    def _lay_out(self, components: list[dag.Component]) -> None:
        lefts, used = (0.0, self.column + 4.0), [0.0, 0.0]
        for component in (part for part in components if len(part) > 1):
            side = int(used[1] < used[0])
            top = used[side] + (0.6 * style.ROW if used[side] else 0.0)
            at = dag.place_nodes(component, lefts[side] + 1.3, top, _STEP)
            self.components.append((component, at))
            self.room |= {n: lefts[side] + self.column - x - 1.7 for n, (x, _) in at.items()}
            used[side] = top + style.ROW * len(component)
        side = int(used[1] < used[0])
        self.block = (lefts[side], used[side] + 0.6 * style.ROW)
        blocks = self._blocks([next(iter(part.row)) for part in components if len(part) == 1])
        left, top = self.block[0], self.block[1] + 1.2 * style.ROW
        for nodes, room in blocks:
            for i, node in enumerate(nodes):
                self.isolated[node] = (left + 1.3, top + style.ROW * (i + 0.5))
                self.room[node] = room - 2.0
            left += room
        if blocks:
            used[side] = top + style.ROW * max(len(nodes) for nodes, _ in blocks)
        self.height = max(used)

    def _blocks(self, nodes: list[str]) -> list[tuple[list[str], float]]:
        """Isolated types in one or two columns, with the columns' widths.

        Short names go to the right, as many (up to half) as fit beside the long ones.
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

    def areas(self, cells: pd.Series | list[float]) -> np.ndarray:
        """Node areas in points²: linear in the logarithm of the number of training cells."""
        train = np.log10(self.types["train_cells"].clip(lower=1))
        low, high = float(train.min()), float(train.max())
        share = (np.log10(np.maximum(cells, 1)) - low) / max(high - low, 1e-9)
        return _AREAS[0] + np.clip(share, 0, 1) * (_AREAS[1] - _AREAS[0])

    def draw(self, axes: Axes, changes: pd.DataFrame) -> None:
        """Draws the panel.

        Args:
            axes: a canvas in mm of the panel's height, see `style.canvas`.
            changes: rows of `type_changes.tsv` of one model and loss; types without a row are
                drawn grey.
        """
        at = dict(self.isolated)
        for component, places in self.components:
            dag.draw_edges(axes, component, places)
            at |= places
        if self.isolated:
            axes.text(
                self.block[0],
                self.block[1] + 0.5 * style.ROW,
                "types without relations to others",
                va="center",
                color=style.MUTED,
            )
        rows = changes.set_index("cl_id")
        labels = self.types["label"].to_dict()
        marked = set(rows.index[significant(rows)])
        nodes = list(at)
        known = [node for node in nodes if node in rows.index]
        unknown = [node for node in nodes if node not in rows.index]
        values = rows.loc[known, "change"].to_numpy(float)
        for part, fill, edge in (
            (known, style.CHANGE(self.norm(changes)(values)), style.INK),
            (unknown, style.ABSENT, style.ABSENT),
        ):
            axes.scatter(
                [at[n][0] for n in part],
                [at[n][1] for n in part],
                c=fill,
                edgecolors=edge,
                s=self.areas(self.types.loc[part, "train_cells"]),
                lw=0.4,
                zorder=3,
            )
        for node in nodes:
            star = " *" if node in marked else ""
            axes.text(
                at[node][0] + 1.8,
                at[node][1],
                style.fit(style.short(labels[node]) + star, self.room[node]),
                va="center",
                zorder=2,
                bbox={"fc": "white", "lw": 0, "pad": 0.2},
                color=style.INK if node in rows.index else style.MUTED,
            )

    @staticmethod
    def norm(changes: pd.DataFrame) -> Normalize:
        """The scale of the colours: symmetric, so that white is no change."""
        largest = limit(changes)
        return Normalize(-largest, largest)
