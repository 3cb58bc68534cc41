"""Calibrated precision of the back-off: thresholds on s that hold on cells of others.

A term is answered for a cell if its s reaches a threshold; `outcomes` says when it is right, wrong
or undecided. The precision is the share of right answers among the decided ones.

*By studies.* New studies differ in ways that held-out cells of known studies do not show, so
thresholds are chosen on the new studies: the lowest one for which a lower confidence bound of the
mean over studies of their precision reaches the requested one. What is reported of a study comes
from the threshold that the other studies give (cross-fitting). This needs `MIN_STUDIES`.

*By donors or cells*, where new studies are too few: the lowest threshold whose bound holds on the
validation cells, for new donors (or cells) of the same studies. Nothing is promised of new studies.

Thresholds are lowered from the strictest that answers enough cells for as long as the bound reaches
the requested precision (fixed-sequence testing; Angelopoulos et al., "Learn then Test", arXiv
2110.01052), so the chance of missing it is at most `ERROR`, for units that arise as those did.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import betaincinv, stdtrit

from hce.annotate.outcomes import Outcomes

ASKED = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99)
SHOWN = 0.9
"""The requested precision at which single types are shown."""
ERROR = 0.05
"""Chance that a calibrated threshold misses the requested precision."""
MIN_STUDIES = 5
"""With fewer new studies nothing is promised of others: each would have to stand for many."""
CALIBRATED = ["asked", "threshold", "basis", "units", "lower"]
CURVE = ["threshold", "cells", "coverage", "right", "confirmed", "credited", "leaf_share", "depth"]
CALIBRATED_TYPES = ["set", "asked", "type", "cells", "decided", "right"]
RELIABILITY = ["asked", "set", "cells", "studies", "coverage", "right", "undecided", "depth"]
MIN_COVERAGE, MIN_CELLS = 0.05, 50
"""The tests begin at the strictest threshold with this many decided answers."""
MAJORITY = 0.5
"""At this threshold a term is more probable than all others together."""
STUDIES, DONORS, CELLS = "new studies", "donors", "cells"
NEW = "new"
"""Name of the new sets together."""


def lower_bound(right: np.ndarray, decided: np.ndarray, by_donor: bool) -> float:
    """A lower confidence bound of the precision, at confidence 1 - `ERROR`.

    The bound of Clopper and Pearson, which takes cells as independent; if groups are donors, the
    smaller of it and the bound of a ratio estimator over donors (Student's t with as many degrees
    of freedom as there are donors, less one).

    Args:
        right: int64 (G,), right answers of each group.
        decided: int64 (G,), decided answers of each group.
        by_donor: whether groups are donors, whose cells are alike; otherwise only sums are used.
    """
    n, k = int(decided.sum()), int(right.sum())
    if k == 0:
        return 0.0
    bound = float(betaincinv(k, n - k + 1, ERROR))
    if not by_donor:
        return bound
    groups = int((decided > 0).sum())
    if groups < 2:
        return 0.0
    residuals = (right - k / n * decided)[decided > 0]
    error = np.sqrt(groups / (groups - 1) * (residuals**2).sum()) / n
    return min(bound, float(k / n - stdtrit(groups - 1, 1 - ERROR) * error))


def bound_over_studies(right: np.ndarray, decided: np.ndarray) -> float:
    """A lower confidence bound of the mean over studies of their precision (Student's t).

    Args:
        right: int64 (G,), right answers of each study.
        decided: int64 (G,), decided answers of each study; studies without any do not count.
    """
    some = decided > 0
    if some.sum() < 2:
        return 0.0
    shares = right[some] / decided[some]
    error = shares.std(ddof=1) / np.sqrt(len(shares))
    return float(shares.mean() - stdtrit(len(shares) - 1, 1 - ERROR) * error)


def choose(outcomes: Outcomes, asked: float, basis: str) -> tuple[int, float]:
    """The threshold for a requested precision.

    Args:
        outcomes: by donors for the basis `DONORS`, by studies for `STUDIES`.
        asked: the requested precision.
        basis: `STUDIES`, `DONORS` or `CELLS`.

    Returns:
        Its position, or -1 if the precision is not reached, and the bound of its precision.
    """
    decided_of = outcomes.decided_of
    enough = decided_of.sum(axis=1) >= max(MIN_COVERAGE * outcomes.cells, MIN_CELLS)
    if basis == STUDIES:  # of which the one that is left out may be missing
        enough &= (decided_of > 0).sum(axis=1) >= min(MIN_STUDIES, len(outcomes.cells_of))
    chosen, lower = -1, np.nan
    for t in np.flatnonzero(enough)[::-1]:
        right, decided = outcomes.right_of[t], decided_of[t]
        if basis == STUDIES:
            bound = bound_over_studies(right, decided)
        else:
            bound = lower_bound(right, decided, basis == DONORS)
        if bound < asked:
            break
        chosen, lower = int(t), bound
    return chosen, lower


def indistinct(validation: Outcomes) -> tuple[int, ...]:
    """The terms that a model does not tell from others: more often wrong than right.

    Counted are the decided validation cells for which the term was answered at the threshold
    `MAJORITY`; a term is one of these if the upper confidence bound of its share of right answers
    (Clopper and Pearson, 1 - `ERROR`) is below one half.

    Returns:
        Their positions.
    """
    t = int(np.argmin(np.abs(validation.thresholds - MAJORITY)))
    decided = validation.reported[t] - validation.undecided[t]
    wrong = decided - validation.right[t]
    upper = betaincinv(validation.right[t] + 1, np.maximum(wrong, 1), 1 - ERROR)
    return tuple(np.flatnonzero((wrong > 0) & (upper < 0.5)).tolist())


def calibrate(
    validation: Outcomes,
    new: Outcomes | None,
    by_donor: bool,
    asked: Sequence[float] = ASKED,
) -> pd.DataFrame:
    """Chooses the threshold for each requested precision.

    Args:
        validation: of the validation cells, by donor.
        new: of the cells of new studies, by study; None where there are none.
        by_donor: whether the run splits by donor.
        asked: the requested precisions.

    Returns:
        One row per requested precision: asked, threshold (NaN if the model does not reach it),
        basis (`STUDIES`, `DONORS` or `CELLS`), units (how many of these; of studies those with
        decided answers at the threshold) and lower (the bound).
    """
    basis = DONORS if by_donor else CELLS
    used, units = validation, len(validation.cells_of) if by_donor else validation.cells
    if new is not None and len(new.cells_of) >= MIN_STUDIES:
        basis, used, units = STUDIES, new, len(new.cells_of)
    rows = []
    for precision in asked:
        t, lower = choose(used, precision, basis)
        threshold = used.thresholds[t] if t >= 0 else np.nan
        if basis == STUDIES and t >= 0:
            units = int((used.decided_of[t] > 0).sum())
        rows.append((precision, threshold, basis, units, lower))
    return pd.DataFrame(rows, columns=CALIBRATED)


def new_studies(
    outcomes: Mapping[str, Outcomes], studies: Mapping[str, Sequence[str]]
) -> tuple[Outcomes | None, dict[str, np.ndarray]]:
    """The outcomes of all new studies. One that several sets have counts once, as in the first.

    Args:
        outcomes: set → its outcomes, of new sets by study.
        studies: new set → the names of its studies.

    Returns:
        Their outcomes by study, None where there are none; and set → where its studies are among
        them, int64.
    """
    if not studies:
        return None, {}
    every = [name for names in studies.values() for name in names]
    numbers = pd.factorize(np.array(every, dtype=object))[0]
    first = np.unique(numbers, return_index=True)[1]
    ends = np.cumsum([len(names) for names in studies.values()])
    pooled = Outcomes.pooled([outcomes[name] for name in studies])
    return pooled.of_groups(first), dict(zip(studies, np.split(numbers, ends[:-1]), strict=True))


def positions(calibrated: pd.DataFrame, outcomes: Outcomes, is_new: bool) -> np.ndarray:
    """Which threshold the cells of a group get for each requested precision.

    Args:
        calibrated: see `calibrate`.
        outcomes: of cells by group; if they are new, of all new studies.
        is_new: whether the groups are the new studies. If the calibration is by studies, each gets
            the threshold that the others give (cross-fitting).

    Returns:
        int64 (A, G), positions among the thresholds, -1 for none.
    """
    groups = range(len(outcomes.cells_of))
    at = np.full((len(calibrated), len(groups)), -1)
    for number, row in enumerate(calibrated.to_dict("records")):
        if is_new and row["basis"] == STUDIES:
            others = (outcomes.without(group) for group in groups)
            at[number] = [choose(rest, row["asked"], STUDIES)[0] for rest in others]
        elif not np.isnan(row["threshold"]):
            at[number] = np.flatnonzero(outcomes.thresholds == row["threshold"])[0]
    return at


def row_at(outcomes: Outcomes, at: np.ndarray) -> dict[str, float]:
    """Coverage and precision of all cells together.

    Args:
        outcomes: by any groups.
        at: int64 (G,), position of the threshold of each group, -1 for no answers.

    Returns:
        cells, coverage (share of cells with an answer), right (share of the decided answers), and
        of all answers: confirmed (share of right ones), credited (the undecided counted as right
        too), leaf_share (share of types without types below) and depth (mean of the terms above
        the answer). NaN if there are no such answers.
    """
    every = np.arange(len(at))
    reported, right, undecided, leaf, depth = (
        float((getattr(outcomes, name)[at, every] * (at >= 0)).sum())
        for name in ("reported_of", "right_of", "undecided_of", "leaf_of", "depth_of")
    )
    some = reported or np.nan
    return {
        "cells": outcomes.cells,
        "coverage": reported / max(outcomes.cells, 1),
        "right": right / ((reported - undecided) or np.nan),
        "confirmed": right / some,
        "credited": (right + undecided) / some,
        "leaf_share": leaf / some,
        "depth": depth / some,
    }


def curve(outcomes: Outcomes) -> pd.DataFrame:
    """One row per threshold: `CURVE`, see `row_at`."""
    groups = len(outcomes.cells_of)
    rows = [
        {"threshold": threshold} | row_at(outcomes, np.full(groups, t))
        for t, threshold in enumerate(outcomes.thresholds)
    ]
    return pd.DataFrame(rows, columns=CURVE)


def kept(outcomes: Outcomes, calibrated: pd.DataFrame, at: np.ndarray) -> pd.DataFrame:
    """What a set of cells gets at the calibrated thresholds.

    Args:
        outcomes: of the set.
        calibrated: see `calibrate`.
        at: int64 (A, G), see `positions`.

    Returns:
        asked and `CURVE`, one row per requested precision; NaN without a threshold.
    """
    rows = [
        {"asked": row["asked"], "threshold": row["threshold"]} | row_at(outcomes, of_row)
        for row, of_row in zip(calibrated.to_dict("records"), at, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["asked", *CURVE])
    table.loc[table["threshold"].isna(), "coverage"] = np.nan
    return table


def over_studies(new: Outcomes, at: np.ndarray) -> dict[str, float]:
    """Means over studies of what their cells get, each study counting once.

    Args:
        new: of the cells of new studies, by study.
        at: int64 (G,), see `positions`.

    Returns:
        cells, studies, coverage, right, undecided (share of the answers) and depth.
    """
    of_studies = [
        row_at(new, np.where(np.arange(len(at)) == study, at, -1)) for study in range(len(at))
    ]
    table = pd.DataFrame(of_studies)
    return {
        "cells": new.cells,
        "studies": len(at),
        "coverage": float((table["coverage"] * new.cells / new.cells_of).mean()),
        "right": float(table["right"].mean()),
        "undecided": float((table["credited"] - table["confirmed"]).mean()),
        "depth": float(table["depth"].mean()),
    }


def reliability(
    outcomes: Mapping[str, Outcomes], calibrated: pd.DataFrame, new: Outcomes | None
) -> pd.DataFrame:
    """What may be relied on at each requested precision: `RELIABILITY`.

    Args:
        outcomes: known set → its outcomes.
        calibrated: see `calibrate`.
        new: of the cells of all new studies, by study; None where there are none.

    Returns:
        One row per requested precision with a threshold and set; of the new studies (set `NEW`)
        the means over studies.
    """
    rows: list[dict[str, object]] = []
    for name, found in outcomes.items():
        table = kept(found, calibrated, positions(calibrated, found, is_new=False))
        undecided = table["credited"] - table["confirmed"]
        rows += table.assign(set=name, undecided=undecided).to_dict("records")  # type: ignore[arg-type]
    if new is not None:
        at = positions(calibrated, new, is_new=True)
        for asked, of_row in zip(calibrated["asked"], at, strict=True):
            rows.append({"asked": asked, "set": NEW} | over_studies(new, of_row))
    reached = calibrated["asked"][calibrated["threshold"].notna()]
    table = pd.DataFrame(rows, columns=RELIABILITY)
    return table[table["asked"].isin(reached)].reset_index(drop=True)


def by_type(outcomes: Outcomes, threshold: float, labels: Sequence[str]) -> pd.DataFrame:
    """One row per term answered at a threshold: type, cells, decided (cells), right (share)."""
    t = int(np.flatnonzero(outcomes.thresholds == threshold)[0])
    seen = np.flatnonzero(outcomes.reported[t])
    cells = outcomes.reported[t, seen]
    decided = cells - outcomes.undecided[t, seen]
    return pd.DataFrame(
        {
            "type": [labels[int(number)] for number in seen],
            "cells": cells,
            "decided": decided,
            "right": outcomes.right[t, seen] / np.where(decided > 0, decided, np.nan),
        }
    )


def tables(
    outcomes: Mapping[str, Outcomes],
    studies: Mapping[str, Sequence[str]],
    calibrated: pd.DataFrame,
    labels: Sequence[str],
) -> dict[str, pd.DataFrame]:
    """The tables that describe the back-off on every set.

    Args:
        outcomes: set → result of `count_outcomes`; of new sets by study.
        studies: set of new studies → their names.
        calibrated: see `calibrate`.
        labels: of the terms.

    Returns:
        coverage: set and the columns of `curve`. calibrated_precision: set and the columns of
        `kept`. calibrated_precision_types: set, asked and the columns of `by_type`, at `SHOWN` or
        the next smaller precision that was calibrated; empty if there is none. reliability: see
        there.
    """
    new, where = new_studies(outcomes, studies)
    at = None if new is None else positions(calibrated, new, is_new=True)
    usable = calibrated[calibrated["asked"] <= SHOWN].dropna(subset="threshold")
    made: dict[str, list[pd.DataFrame]] = {"coverage": [], "calibrated_precision": [], "types": []}
    for name, found in outcomes.items():
        if name in where and at is not None:
            own = at[:, where[name]]
        else:
            own = positions(calibrated, found, is_new=False)
        made["coverage"].append(curve(found).assign(set=name))
        made["calibrated_precision"].append(kept(found, calibrated, own).assign(set=name))
        for asked, threshold in usable[["asked", "threshold"]].tail(1).to_numpy():
            of_types = by_type(found, threshold, labels)
            made["types"].append(of_types.assign(set=name, asked=asked))
    made["types"].append(pd.DataFrame(columns=CALIBRATED_TYPES))
    known = {name: found for name, found in outcomes.items() if name not in studies}
    joined = {name: pd.concat(parts, ignore_index=True) for name, parts in made.items()}
    return {
        "coverage": joined["coverage"][["set", *CURVE]],
        "calibrated_precision": joined["calibrated_precision"][["set", "asked", *CURVE]],
        "calibrated_precision_types": joined["types"][CALIBRATED_TYPES],
        "reliability": reliability(known, calibrated, new),
    }
