"""Compares published numbers with those of a run.

Only the decoder `argmax` is compared, which the publications use.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from hce.evaluation.statistics import paired_changes

DECODER = "argmax"
BASELINE = "ce"
# The two readings of "macro F1" on the ID set: over all its types, or over those of the OOD set.
READINGS = ("credited_macro_f1", "credited_macro_f1_ood_types")

# Scores of which macro F1 alone is compared in both readings.
SCORES = ("macro_f1", "accuracy", "weighted_f1", "macro_precision", "macro_recall")
# Counts by a grouping of tissues that only the publication has.
_QUOTED = ("cells of the organ system", "types of the organ system")

# Percentages and points: published figures are rounded to whole points.
EQUAL_POINTS = 0.5
CLOSE_POINTS = 2.0
# Counts have to be identical to be equal.
CLOSE_SHARE = 0.02
THRESHOLDS = (
    f"Counts are *equal* if they are identical and *close* within {CLOSE_SHARE:.0%}. Percentages "
    f"and points are *equal* within {EQUAL_POINTS} points and *close* within {CLOSE_POINTS:g}. "
    "Otherwise they are *different*. If a number is *not available*, the remark says why."
)


def status(published: float, reproduced: float, unit: str) -> str:
    """How two numbers compare: "equal", "close", "different" or "not available" (NaN).

    Args:
        published: the published number.
        reproduced: the number of the run, in the same unit.
        unit: "%" and "points" are measured values; any other unit is a count.
    """
    if np.isnan(reproduced):
        return "not available"
    distance = abs(reproduced - published)
    if unit in ("%", "points"):
        equal, close = EQUAL_POINTS, CLOSE_POINTS
    else:
        equal, close = 0.0, CLOSE_SHARE * published
    if distance <= equal:
        return "equal"
    return "close" if distance <= close else "different"


def compare(published: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Finds every published number in the tables of a run.

    Args:
        published: columns quantity, model, loss, set, score, value, unit, source, note; `score`
            may name several scores, separated by ";", if the publication does not say which.
        tables: `overall`, `type_changes`, `stratum_changes`, `data_totals`, `report`, and
            `augmentation` if vectors were made.

    Returns:
        The rows of `published` except those by organ system, one per number and reading
        (`reading`: a score, or empty for counts), with reproduced and sd (in `unit`; NaN if there
        is none), seeds, status and `why` (what a number means, or why there is none).
    """
    names = dict.fromkeys(("model", "loss", "set", "score", "note"), "")
    rows = []
    published = published[~published["quantity"].str.startswith(_QUOTED)]
    for row in published.fillna(names).to_dict("records"):
        claimed = str(row["score"]).split(";")
        is_score = row["quantity"] == "macro_f1"
        for reading in READINGS if is_score else claimed:
            found = _look_up(row, reading, tables)
            if is_score and reading not in claimed:
                verdict = "-"
            else:
                verdict = status(float(row["value"]), found["reproduced"], str(row["unit"]))
            rows.append({**row, "reading": reading, **found, "status": verdict})
    return pd.DataFrame(rows)


def _look_up(row: dict, reading: str, tables: Mapping[str, pd.DataFrame]) -> dict:
    """The run's number for a published one: reproduced, sd, seeds, why."""
    match row["quantity"]:
        case quantity if quantity in SCORES:
            return _score(row, reading, tables["overall"])
        case "smallest_gain" | "largest_gain":
            return _gain(row, reading, tables["overall"])
        case "largest_type_gain" | "studies_better":
            return _change(row, tables)
        case _:
            return _count(row, tables)


def _found(reproduced: float, why: str = "", sd: float = np.nan, seeds: int = 0) -> dict:
    return {"reproduced": float(reproduced), "sd": sd, "seeds": seeds, "why": why}


def _select(table: pd.DataFrame, row: dict, *columns: str) -> pd.DataFrame:
    chosen = table["decoder"] == DECODER
    for column in columns:
        chosen &= table[column] == row[column]
    return table[chosen]


def _no_fit(row: dict) -> dict:
    names = " / ".join(str(row[key]) for key in ("model", "loss") if row[key])
    return _found(np.nan, f"the run has no {DECODER} score of {names} on {row['set']}")


def _score(row: dict, reading: str, overall: pd.DataFrame) -> dict:
    values = 100 * _select(overall, row, "model", "loss", "set").query("score == @reading")["value"]
    if values.empty:
        return _no_fit(row)
    return _found(float(values.mean()), sd=float(values.std()), seeds=len(values))


def _gain(row: dict, reading: str, overall: pd.DataFrame) -> dict:
    scores = overall[(overall["score"] == reading) & (overall["set"] == row["set"])]
    changes = paired_changes(scores, "value", ["score"], BASELINE, alpha=0.05)
    changes = _select(changes, row, "loss").dropna(subset="change")
    if changes.empty:
        return _no_fit(row)
    gains = 100 * changes["change"].to_numpy(np.float64)
    gain = gains.min() if row["quantity"] == "smallest_gain" else gains.max()
    return _found(gain, f"of the models of the run: {', '.join(changes['model'])}")


def _change(row: dict, tables: Mapping[str, pd.DataFrame]) -> dict:
    is_type = row["quantity"] == "largest_type_gain"
    table = tables["type_changes" if is_type else "stratum_changes"]
    changes = _select(table, row, "model", "loss", "set").dropna(subset="change")
    changes = changes[changes["score"].isin(("credited_f1", "credited_macro_f1"))]
    if not is_type:
        changes = changes[changes["kind"] == "study"]
    if changes.empty:
        return _no_fit(row)
    if is_type:
        best = int(changes["change"].argmax())
        gains = 100 * changes["change"].to_numpy(np.float64)
        return _found(gains[best], str(changes["label"].iloc[best]))
    if changes["p"].isna().all():
        return _found(np.nan, "not tested, because a test needs two seeds")
    better = changes["significant"].astype(bool) & (changes["change"] > 0)
    return _found(better.sum(), f"of {len(changes)} studies")


def _count(row: dict, tables: Mapping[str, pd.DataFrame]) -> dict:
    totals = tables["data_totals"]
    report = tables["report"]
    if row["set"] == "augmentation":
        made = tables.get("augmentation", report.iloc[:0])
        values = made.loc[made["quantity"] == row["quantity"], "value"]
        missing = "the run computes no augmentation vectors"
    elif row["quantity"] in totals.columns:
        values = totals.loc[totals["set"] == row["set"], row["quantity"]]
        missing = f"the run has no set {row['set']}"
    else:
        chosen = report["quantity"] == row["quantity"]
        if row["set"] != "reference":  # a whole release
            chosen &= report["release"] == row["set"]
        values = report.loc[chosen, "value"]
        missing = f"the cell report has no row {row['quantity']} of {row['set']}"
    return _found(float(values.iloc[0])) if len(values) else _found(np.nan, missing)
