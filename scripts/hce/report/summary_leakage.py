"""The section on leakage of the summary: findings, and scores without leaky cells."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from hce.evaluation.scoring import CLEAN
from hce.evaluation.statistics import paired_changes
from hce.report.markdown import NOTHING, markdown_table, mean_sd, number, points

SCORES = {"credited_macro_f1": "credited", "study_aware_macro_f1": "study-aware"}
# Quantities of the audit's summary that the section shows: counts, and shares.
COUNTS = (
    "cells",
    "studies",
    "studies of known collections",
    "cells of known collections",
    "cells of shared donors",
    "cells equal to a cell of the reference",
    "cells of re-deposited studies",
    "leaky cells",
    "studies without clean cells",
    "types missing if matched by CL id",
    "types added if matched by CL id",
    "withdrawn studies",
    "train cells of withdrawn studies",
    "cells held more than once",
    "val cells that are also in train",
    "id cells that are also in train",
)
SHARES = ("share of all counts in the models' genes", "share of counts matched by name")


def leakage(audit: pd.DataFrame, overall: pd.DataFrame, baselines: Iterable[str]) -> str:
    """Writes the section.

    Args:
        audit: the summary of the audit: release, set, quantity, value.
        overall: `overall.tsv`, with the sets `<set>_clean`.
        baselines: losses that the others are compared with.

    Returns:
        Markdown without a heading.
    """
    new = audit[audit["set"] != "reference"]
    parts = [
        "What new studies have in common with the reference release (train, val and id), and how "
        "matching types by CL id would change them. A cell is *leaky* for one of the reasons in "
        "`audit.reasons` of the config. `audit/summary.tsv` in the data folder has more numbers; "
        "the same folder has tables of studies, withdrawn studies and annotations.",
        _findings(new),
        "Cells of the reference release itself:",
        _findings(audit[audit["set"] == "reference"]),
    ]
    if len(new):
        parts += [
            "Macro F1 in %, mean and standard deviation over seeds, over all cells "
            "of a set and over those that are not leaky, each over the types that are left. A row "
            "`hce - ce` is the mean change over paired seeds in points.",
            _scores(overall, list(baselines)),
        ]
    return "\n\n".join(parts)


def _findings(audit: pd.DataFrame) -> str:
    sets = list(dict.fromkeys(audit["set"]))
    values = {(row["set"], row["quantity"]): row["value"] for row in audit.to_dict("records")}
    cells = {name: values.get((name, "cells"), np.nan) for name in sets}
    rows = []
    for quantity in [name for name in (*COUNTS, *SHARES) if name in set(audit["quantity"])]:
        found = [float(values.get((name, quantity), np.nan)) for name in sets]
        if quantity in SHARES:
            texts = [NOTHING if np.isnan(value) else f"{value:.1%}" for value in found]
        else:
            texts = [number(value, "cells") for value in found]
        if quantity == "leaky cells":
            texts = [
                f"{text} ({value / max(cells[name], 1):.1%})"
                for text, value, name in zip(texts, found, sets, strict=True)
            ]
        rows.append([quantity, *texts])
    return markdown_table(["quantity", *sets], rows, right=sets)


def _scores(overall: pd.DataFrame, baselines: list[str]) -> str:
    scores = overall[overall["score"].isin(SCORES)]
    # The error rate only affects intervals, which are not shown.
    compared = [paired_changes(scores, "value", ["score"], name, 0.05) for name in baselines]
    view = ["model", "decoder", "score"]
    rows = []
    for name in [s for s in dict.fromkeys(overall["set"]) if f"{s}{CLEAN}" in set(overall["set"])]:
        pair = (name, f"{name}{CLEAN}")
        for key, fits in scores.groupby(view, sort=False):
            model, decoder, score = map(str, key)
            head = [str(name), model, decoder, SCORES[score]]
            for loss, group in fits.groupby("loss", sort=False):
                texts = [mean_sd(group.loc[group["set"] == s, "value"]) for s in pair]
                rows.append([*head, str(loss), *texts])
            for baseline, changes in zip(baselines, compared, strict=True):
                found = changes[(changes[view] == [model, decoder, score]).all(axis=1)]
                for loss, group in found.groupby("loss", sort=False):
                    values = [group.loc[group["set"] == s, "change"].dropna() for s in pair]
                    texts = [points(v.iloc[0]) if len(v) else NOTHING for v in values]
                    rows.append([*head, f"{loss} - {baseline}", *texts])
    columns = ["all cells", "without leaky cells"]
    header = ["set", "model", "decoder", "macro F1", "loss", *columns]
    return markdown_table(header, rows, right=columns)
