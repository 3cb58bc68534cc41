"""Panels that describe the data: totals, cells per tissue, cells per type."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from hce.figures import style
from hce.sets import REFERENCE_SETS

_MOST_TISSUES = 14


def totals(axes: Axes, table: pd.DataFrame) -> None:
    """Writes the table of totals, one column per set.

    Args:
        axes: a canvas in mm, see `style.canvas`.
        table: `data_totals.tsv`: set, cells, types, donors, studies, tissues.
    """
    rows = ["cells", "types", "donors", "studies", "tissues"]
    sets = [s for s in ("reference", *REFERENCE_SETS, "ood") if s in set(table["set"])]
    width, height = axes.get_xlim()[1], axes.get_ylim()[0]
    line = height / (len(rows) + 1)
    columns = np.linspace(11 + (width - 11) / max(len(sets), 1), width, len(sets))
    for x, key in zip(columns, sets, strict=True):
        colour = style.OOD if key == "ood" else style.INK
        axes.text(
            x, line / 2, style.name(key), ha="right", va="center", color=colour, weight="bold"
        )
        values = table[table["set"] == key].iloc[0]
        for i, row in enumerate(rows, start=1):
            axes.text(x, line * (i + 0.5), style.thousands(values[row]), ha="right", va="center")
    for i, row in enumerate(rows, start=1):
        axes.text(0, line * (i + 0.5), row, ha="left", va="center", color=style.MUTED)
        axes.plot([0, width], [line * i] * 2, c=style.RULE, lw=0.4)


def tissues(axes: Axes, table: pd.DataFrame) -> None:
    """Draws the cells of each tissue, in the reference release and OOD, on a log scale.

    Args:
        axes: where to draw.
        table: `data_tissues.tsv`: set, tissue_general, cells. Small tissues are
            summed.
    """
    kinds = table["set"].map(dict.fromkeys(REFERENCE_SETS, "reference") | {"ood": "ood"})
    cells = table.groupby(["tissue_general", kinds])["cells"].sum().unstack(fill_value=0)
    cells = cells.reindex(columns=["reference", "ood"], fill_value=0)
    cells = cells.sort_values(["reference", "ood"], ascending=False)
    if len(cells) > _MOST_TISSUES:
        rest = cells.iloc[_MOST_TISSUES - 1 :]
        cells = cells.iloc[: _MOST_TISSUES - 1]
        cells.loc[f"{len(rest)} other tissues"] = rest.sum()
    y = np.arange(len(cells))
    for kind, colour, shape, text in (
        ("reference", style.REFERENCE, "o", "training, validation and ID test"),
        ("ood", style.OOD, "D", "OOD"),
    ):
        shown = cells[kind].to_numpy() > 0
        if shown.any():
            axes.scatter(
                cells[kind][shown], y[shown], s=9, c=colour, marker=shape, zorder=3, label=text
            )
    across = axes.get_yaxis_transform()
    axes.hlines(y, 0, 1, color=style.ABSENT, lw=0.4, zorder=1, transform=across)
    style.count_axis(axes, "x", cells.to_numpy())
    axes.set(
        yticks=y,
        ylim=(len(cells) - 0.4, -0.6),
        yticklabels=[style.fit(tissue, 25) for tissue in cells.index],
    )
    axes.tick_params(axis="y", length=0)


def types_by_rank(axes: Axes, table: pd.DataFrame) -> None:
    """Draws the training cells of each type by rank, and its OOD cells.

    Args:
        axes: where to draw.
        table: `data_types.tsv`, with a column cells_ood if the run has OOD data.
    """
    ranked = table.sort_values(["train_cells", "label"], ascending=[False, True])
    rank = np.arange(1, len(ranked) + 1)
    train = ranked["train_cells"].to_numpy()
    ood = ranked.get("cells_ood", pd.Series(0, index=ranked.index)).to_numpy()
    shared = ood > 0
    axes.vlines(rank[shared], train[shared], ood[shared], color=style.RULE, lw=0.35, zorder=1)
    if not shared.all():
        axes.scatter(
            rank[~shared],
            train[~shared],
            s=7,
            c="white",
            edgecolors=style.REFERENCE,
            linewidths=0.5,
            zorder=2,
            label="training; type not in the OOD data",
        )
    if shared.any():
        axes.scatter(
            rank[shared],
            train[shared],
            s=8,
            c=style.REFERENCE,
            linewidths=0,
            zorder=3,
            label=f"training; one of the {shared.sum()} OOD types",
        )
        axes.scatter(
            rank[shared],
            ood[shared],
            s=7,
            c=style.OOD,
            marker="D",
            linewidths=0,
            zorder=4,
            label="OOD data",
        )
    style.count_axis(axes, "y", np.concatenate([train, ood]))
    axes.set(
        xlim=(-0.02 * len(rank), len(rank) + 2),
        xlabel=f"{len(rank)} types, by number of training cells",
    )
