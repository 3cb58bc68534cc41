"""The summary's section on what the gain of a loss is made of."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from hce.report.markdown import NOTHING, markdown_table, points
from hce.sets import SEEN_SETS

PARTS = ("gain", "decoding", "contradiction", "rest")
SCOPES = {
    "all": "all types",
    "internal": "internal",
    "connected_leaf": "connected leaves",
    "isolated_leaf": "isolated leaves",
}
NOTHING_TO_DIVIDE = (
    "Nothing to divide: it takes the losses `statistics.baseline` and `statistics.compared`, both "
    "with the decoders `argmax` and `ancestor_sum`."
)


def decomposition(table: pd.DataFrame, alpha: float) -> str:
    """The parts of the gain, over all types and by kind of type.

    Args:
        table: `decomposition.tsv`, see `evaluation.decomposition`.
        alpha: 1 - coverage of the intervals.

    Returns:
        Markdown without a heading.
    """
    shown = table[~table["set"].isin(SEEN_SETS) & table["scope"].isin(SCOPES)]
    if shown.empty:
        return NOTHING_TO_DIVIDE
    keys = ["set", "model", "baseline", "loss", "scope"]
    rows = []
    for (name, model, baseline, loss, scope), group in shown.groupby(keys, sort=False):
        parts = {row["part"]: row for row in group.to_dict("records")}
        cells = [_cell(parts[part]) for part in PARTS]
        rows.append([str(name), str(model), f"{loss} - {baseline}", SCOPES[str(scope)], *cells])
    header = ["set", "model", "comparison", "types", *PARTS]
    return (
        "Change of credited macro F1 in points, divided into parts that add up, with "
        f"{100 * (1 - alpha):g}% intervals over draws of the studies. *Decoding*: the study-aware "
        "score of the baseline read out by `ancestor_sum`, less that by argmax; it takes no other "
        "training. *Contradiction*: credited less study-aware score, of the loss less that of the "
        "baseline; these answers are credited, but the study itself labels something finer. "
        "*Rest*: the study-aware score of the loss less that of the baseline read out by "
        "`ancestor_sum`. In round brackets, shares of the gain, where neither the interval of the "
        "gain nor that of the part includes 0. Single studies: `tables/decomposition.tsv`.\n\n"
    ) + markdown_table(header, rows, right=PARTS)


def _cell(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["change"]):
        return NOTHING
    known = not pd.isna(row["share"]) and row["part"] != "gain" and _beyond_noise(row)
    share = f" ({row['share']:.0%})" if known else ""
    return points(row["change"]) + _interval(row) + share


def _beyond_noise(row: Mapping[Any, Any]) -> bool:
    """Whether the interval leaves 0 out."""
    return bool(row["ci_low"] > 0 or row["ci_high"] < 0)


def _interval(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["ci_low"]):
        return ""
    return f" [{points(row['ci_low'])}, {points(row['ci_high'])}]"
