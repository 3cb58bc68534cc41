"""Loss by decoder: how much of a loss's gain a decoder gives without retraining."""

import numpy as np
import pandas as pd

from hce.evaluation.statistics import NO_SPREAD
from hce.metrics import KINDS

COLUMNS = [
    *("model", "set", "loss", "decoder", "kind", "types", "seeds"),
    *("credited_macro_f1", "sd", "share_of_gain"),
    *("study_aware_macro_f1", "study_aware_sd", "exact_macro_f1", "exact_sd"),
]
NODE_KINDS = ("all", "internal", "connected_leaf", "isolated_leaf")


def node_kinds(types: pd.DataFrame) -> pd.Series:
    """Kind of each type: internal, connected_leaf or isolated_leaf.

    Args:
        types: index, kind (leaf or internal) and connected, see `Hierarchy`.

    Returns:
        Index of the type → its kind.
    """
    leaf = np.where(types["connected"], "connected_leaf", "isolated_leaf")
    return pd.Series(np.where(types["kind"] == "internal", "internal", leaf), types["index"])


def divide_gain(
    per_type: pd.DataFrame, types: pd.DataFrame, baseline: str, compared: str
) -> pd.DataFrame:
    """Scores of every loss with every decoder, and the part of one loss's gain that each reaches.

    The gain is the change of credited macro F1 from the baseline to the compared loss, both read
    out by argmax, of the same model, set and kind of types. A cell's share of it is its own change
    from the baseline's argmax, divided by the gain: 0 for the baseline itself, 1 for the compared
    loss. A decoder that has a share near 1 with the baseline explains the gain by decoding alone.

    Args:
        per_type: `per_type.tsv`: model, loss, seed, set, decoder, index, and `<kind>_f1` of
            `metrics.KINDS`.
        types: `Hierarchy.types`.
        baseline: the loss that the gain starts from.
        compared: the loss that it leads to.

    Returns:
        `COLUMNS`: means over seeds and their standard deviation (missing with one), sd that of the
        credited score. share_of_gain is missing where one of the two is, or without a gain. Kinds
        of which a set has no types have no rows.
    """
    kinds = node_kinds(types)
    scored = per_type.assign(kind=per_type["index"].map(kinds))
    scored = pd.concat([scored.assign(kind="all"), scored])
    cell = ["model", "set", "loss", "decoder", "kind"]
    by_seed = scored.groupby([*cell, "seed"], sort=False).agg(
        types=("index", "size"), **{kind: (f"{kind}_f1", "mean") for kind in KINDS}
    )
    table = (
        by_seed.groupby(cell, sort=False)
        .agg(
            types=("types", "first"),
            seeds=("types", "size"),
            **{f"{kind}_macro_f1": (kind, "mean") for kind in KINDS},
            **{f"{kind}_sd": (kind, "std") for kind in KINDS},
        )
        .rename(columns={"credited_sd": "sd"})
        .reset_index()
    )
    block = ["model", "set", "kind"]
    ends = table[table["decoder"] == "argmax"].set_index(block)
    scores = {
        loss: ends.loc[ends["loss"] == loss, "credited_macro_f1"] for loss in (baseline, compared)
    }
    where = pd.MultiIndex.from_frame(table[block])
    start = scores[baseline].reindex(where).to_numpy()
    gain = scores[compared].reindex(where).to_numpy() - start
    gain = np.where(gain > NO_SPREAD, gain, np.nan)
    table["share_of_gain"] = (table["credited_macro_f1"] - start) / gain
    order = table["kind"].map(NODE_KINDS.index)
    return table.assign(order=order).sort_values(["model", "set", "order"], kind="stable")[COLUMNS]
