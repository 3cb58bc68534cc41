"""What the gain of a loss is made of, in two sentences and in a table."""

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


def headline(table: pd.DataFrame, alpha: float) -> str:
    """Two sentences on new studies, or on held-out donors where the run has no new ones.

    Args:
        table: `decomposition.tsv`, see `evaluation.decomposition`.
        alpha: 1 - coverage of the intervals.

    Returns:
        A paragraph; empty where nothing was divided.
    """
    sets = set(table["set"])
    name = next((name for name in ("ood", "id") if name in sets), None)
    chosen = table[(table["set"] == name) & (table["scope"] == "all")]
    if chosen.empty:
        return ""
    of_model: dict[str, dict[str, Mapping[Any, Any]]] = {}
    for row in chosen.to_dict("records"):
        of_model.setdefault(str(row["model"]), {})[row["part"]] = row
    loss, baseline = (str(chosen[column].iloc[0]) for column in ("loss", "baseline"))
    where = "new studies" if name == "ood" else "held-out donors"
    gains = "; ".join(
        f"{model} {points(parts['gain']['change'])} points, of which decoding alone gives "
        f"{points(parts['decoding']['change'])} without retraining, and "
        f"{points(parts['contradiction']['change'])} are answers that the studies' own labels "
        "contradict"
        for model, parts in of_model.items()
    )
    rests = "; ".join(
        f"{model} {points(parts['rest']['change'])}{_interval(parts['rest'])}"
        for model, parts in of_model.items()
    )
    return (
        f"**Credited macro F1 of `{loss}` against `{baseline}` on {where} (`{name}`):** {gains}. "
        f"What is left for training with `{loss}`, in points with the "
        f"{100 * (1 - alpha):g}% interval over studies: {rests}."
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
        "`ancestor_sum`. In brackets, shares of the gain, where its interval is above 0. Single "
        "studies: `tables/decomposition.tsv`.\n\n"
    ) + markdown_table(header, rows, right=PARTS)


def _cell(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["change"]):
        return NOTHING
    share = "" if pd.isna(row["share"]) or row["part"] == "gain" else f" ({row['share']:.0%})"
    return points(row["change"]) + _interval(row) + share


def _interval(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["ci_low"]):
        return ""
    return f" [{points(row['ci_low'])}, {points(row['ci_high'])}]"
