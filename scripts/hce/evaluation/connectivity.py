"""A control: what a type gains by a loss when it is trained without its relatives."""

from collections.abc import Mapping

import pandas as pd

from hce.metrics import KINDS

COLUMNS = [
    *("cl_id", "label", "left_out", "model", "seed", "set", "score"),
    *("baseline_f1", "f1", "gain"),
]


def connectivity(
    per_type: pd.DataFrame,
    left_out: Mapping[str, tuple[str, str, str]],
    baseline: str,
    compared: str,
) -> pd.DataFrame:
    """The gains of types with all training cells, without their relatives', and without others.

    Args:
        per_type: `per_type.tsv` of the run and of the controls, decoder argmax alone is read.
        left_out: loss of a control → its class, the CL id of the type, and `relatives` or
            `elsewhere`.
        baseline: the loss that gains are counted from.
        compared: the loss that gains.

    Returns:
        `COLUMNS`: for each type, what was left out (`nothing` for the run's own fits), model, seed,
        set and score, the type's F1 with both losses, and the difference.
    """
    rows = per_type[per_type["decoder"] == "argmax"]
    parts = []
    for cl_id in dict.fromkeys(of for _, of, _ in left_out.values()):
        of_type = rows[rows["cl_id"] == cl_id]
        variants = {"nothing": {baseline: baseline, compared: compared}}
        for loss, (kind, of, what) in left_out.items():
            if of == cl_id:
                variants.setdefault(what, {})[kind] = loss
        for what, losses in variants.items():
            if {baseline, compared} <= losses.keys():
                pair = (losses[baseline], losses[compared])
                parts.append(_gains(of_type, pair).assign(left_out=what))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)
    return table[COLUMNS]


def _gains(of_type: pd.DataFrame, pair: tuple[str, str]) -> pd.DataFrame:
    """One type's F1 with two losses, by every score."""
    keys = ["cl_id", "label", "model", "seed", "set"]
    scores = {f"{kind}_f1": kind for kind in KINDS}
    long = of_type.melt([*keys, "loss"], list(scores), "score", "value")
    wide = long.pivot(index=[*keys, "score"], columns="loss", values="value")
    wide = wide.reindex(columns=list(pair)).dropna()
    found = wide.set_axis(["baseline_f1", "f1"], axis=1).reset_index()
    return found.assign(gain=found["f1"] - found["baseline_f1"])
