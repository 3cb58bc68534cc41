"""The table of types that a reader sees at the end of an annotation."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from hce.annotate.labels import PREFIX

# Rows of the table; the rest is counted in the last one.
ROWS = 20


def type_table(obs: pd.DataFrame, reliability: Mapping[str, str] | None = None) -> str:
    """The answers with the most cells, one line each: cells, share, mean probability.

    Args:
        obs: columns of an annotation, see `labels.columns`.
        reliability: has `back_off_reliability`, a sentence for the end; None: no such sentence.
    """
    back_off = f"{PREFIX}back_off_cell_type" in obs
    kind = f"{PREFIX}back_off_" if back_off else PREFIX
    named = obs.groupby(obs[f"{kind}cell_type"].astype(str), sort=False)[f"{kind}probability"]
    found = pd.DataFrame({"cells": named.size(), "mean": named.mean()})
    found = found.sort_values("cells", ascending=False, kind="stable")
    width = max(len(name) for name in ["cell type", *found.index[:ROWS]])
    lines = [f"{'cell type':<{width}}  {'cells':>9}  share  probability"]
    for name, row in found.head(ROWS).iterrows():
        mean = "-" if np.isnan(row["mean"]) else f"{row['mean']:.2f}"
        share = row["cells"] / len(obs)
        lines.append(f"{name:<{width}}  {int(row['cells']):>9,}  {share:>5.1%}  {mean:>11}")
    if len(found) > ROWS:
        rest = int(found["cells"][ROWS:].sum())
        more = f"{len(found) - ROWS} more"
        lines.append(f"{more:<{width}}  {rest:>9,}  {rest / len(obs):>5.1%}")
    lines += unknown_reasons(obs)
    if reliability is not None and "back_off_reliability" in reliability:
        lines.append(reliability["back_off_reliability"])
    return "\n".join(lines)


def unknown_reasons(obs: pd.DataFrame) -> list[str]:
    """In words, why cells are unknown and how many are novel; nothing where none is either."""
    found = []
    if f"{PREFIX}unknown_reason" in obs:
        reasons = obs[f"{PREFIX}unknown_reason"].value_counts()
        each = [f"{count:,} {reason}" for reason, count in reasons[reasons > 0].items()]
        found += [f"Unknown: {', '.join(each)}."] if each else []
    elif f"{PREFIX}novel" in obs and (novel := int(obs[f"{PREFIX}novel"].sum())):
        found.append(f"{novel:,} cells are unlike any type of the model.")
    return found
