"""Calibrated precision of the back-off: thresholds on s, chosen on validation cells.

A type is reported for a cell if its s reaches a threshold. The report is right if the author's
label is that type or one below it, and wrong if the label is neither below nor above it. A label
above the reported type ("T cell" for a reported "CD4 T cell") does not decide: `right`, the
precision, is the share of right reports among those that labels decide. The undecided reports leave
it open between two bounds: none of them right (`confirmed`), or all (`credited`, as in the scores).

A threshold is chosen for each requested precision by fixed-sequence testing (Angelopoulos et al.,
"Learn then Test", arXiv 2110.01052): starting from the strictest threshold that reports enough
cells, thresholds are lowered as long as a lower confidence bound of the precision reaches the
requested one. The chance of missing the requested precision is then at most `ERROR`, for new cells
that arise as the validation cells did: from other donors of the same studies. Cells of new studies
do not; for them, coverage and precision are measured and nothing is guaranteed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.special import betaincinv, stdtrit

from hce.batches.in_memory import Batches
from hce.decoding import back_off, below
from hce.models import takes_sparse
from hce.models.trained_model import TrainedModel
from hce.store.categories import codes_of
from hce.store.cell_store import CellStore

ASKED = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99)
THRESHOLDS = np.array(
    [*np.arange(0.1, 0.3, 0.05), *np.arange(0.3, 0.985, 0.02), 0.99, 0.995, 0.999, 0.9999]
)
SHOWN = 0.9
"""The requested precision at which single types are shown."""
ERROR = 0.05
"""Chance that a calibrated threshold misses the requested precision."""
CURVE = [
    *("threshold", "cells", "coverage", "right", "confirmed", "credited", "leaf_share", "depth")
]
CALIBRATED_TYPES = ["set", "asked", "type", "cells", "decided", "right"]
MIN_COVERAGE, MIN_CELLS = 0.05, 50
"""The tests begin at the strictest threshold with this many reports that labels decide."""


@dataclass(frozen=True)
class Outcomes:
    """What the back-off reports at each of T thresholds, by reported type (C) and by donor (G).

    Attributes:
        thresholds: float64 (T,), ascending.
        cells: number of cells, with and without a reported type.
        reported: int64 (T, C), cells for which the type was reported.
        right: int64 (T, C), those of them whose label is the type or below it.
        undecided: int64 (T, C), those of them whose label is above it.
        decided_of: int64 (T, G), cells of each group whose label decides their report.
        right_of: int64 (T, G), those of them whose report is right.
    """

    thresholds: np.ndarray
    cells: int
    reported: np.ndarray
    right: np.ndarray
    undecided: np.ndarray
    decided_of: np.ndarray
    right_of: np.ndarray


def donors_of(cells: pd.DataFrame) -> np.ndarray:
    """Numbers the donors, which are unique only within a study; int64 (cells,).

    Raises:
        UserError: a cell has no study or no donor.
    """
    for name in ("study", "donor"):
        codes_of(cells[name].astype("category"), "the validation cells")
    return cells.groupby(["study", "donor"], observed=True, sort=False).ngroup().to_numpy()


@torch.no_grad()
def count_outcomes(
    trained: TrainedModel,
    store: CellStore,
    groups: np.ndarray,
    batch_size: int,
    device: torch.device,
    thresholds: np.ndarray = THRESHOLDS,
) -> Outcomes:
    """Applies the back-off to the cells of a store at all thresholds, in one pass.

    Memory does not grow with the number of cells.

    Args:
        trained: the model; moved to the device with its loss.
        store: cells over the model's genes.
        groups: group of each cell, int64 (cells,), counted from 0.
        batch_size: cells per batch.
        device: where the model runs.
        thresholds: float64 (T,), ascending.
    """
    trained.to(device)
    reachability = torch.from_numpy(trained.reachability).to(device)
    n_types, n_groups = len(trained.types), int(groups.max(initial=-1)) + 1
    by_type = np.zeros((3, len(thresholds), n_types), dtype=np.int64)
    by_group = np.zeros((2, len(thresholds), n_groups), dtype=np.int64)
    labels = store.cells()["label"].to_numpy()
    start = 0
    for counts in store.blocks():
        stop = start + len(counts)
        batches = Batches(
            counts,
            labels[start:stop],
            len(trained.genes),
            batch_size,
            device,
            sparse=takes_sparse(trained.model),
        )
        for expression, label in batches.in_order():
            group = groups[start : start + len(label)]
            s = below(trained.probabilities(expression), reachability)
            for t, threshold in enumerate(thresholds):
                found, reached = back_off(s, reachability, float(threshold))
                reported = (reached >= threshold).cpu().numpy()
                right = reachability[found, label].cpu().numpy() & reported
                undecided = reachability[label, found].cpu().numpy() & reported & ~right
                types = found.cpu().numpy()
                for row, mask in zip(by_type, (reported, right, undecided), strict=True):
                    row[t] += np.bincount(types[mask], minlength=n_types)
                for row, mask in zip(by_group, (reported & ~undecided, right), strict=True):
                    row[t] += np.bincount(group[mask], minlength=n_groups)
            start += len(label)
    return Outcomes(thresholds, len(labels), *by_type, *by_group)


def lower_bound(right: np.ndarray, decided: np.ndarray, by_donor: bool) -> float:
    """A lower confidence bound of the precision, at confidence 1 - `ERROR`.

    The bound of Clopper and Pearson, which takes cells as independent; if groups are donors, the
    smaller of it and the bound of a ratio estimator over donors (Student's t with as many degrees
    of freedom as there are donors, less one).

    Args:
        right: int64 (G,), right reports of each group.
        decided: int64 (G,), reports of each group that labels decide.
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


def calibrate(outcomes: Outcomes, by_donor: bool, asked: Sequence[float] = ASKED) -> pd.DataFrame:
    """Chooses the threshold for each requested precision.

    Args:
        outcomes: of the validation cells.
        by_donor: whether their groups are donors.
        asked: the requested precisions.

    Returns:
        One row per requested precision: asked, threshold (NaN if the model does not reach it), and
        for the validation cells: cells, coverage (share that gets a type), right, lower.
    """
    reported, decided = outcomes.reported.sum(axis=1), outcomes.decided_of.sum(axis=1)
    enough = decided >= max(MIN_COVERAGE * outcomes.cells, MIN_CELLS)
    bounds = [
        lower_bound(right, of, by_donor)
        for right, of in zip(outcomes.right_of, outcomes.decided_of, strict=True)
    ]
    rows = []
    for probability in asked:
        chosen = None
        for t in np.flatnonzero(enough)[::-1]:
            if bounds[t] < probability:
                break
            chosen = t
        row: dict[str, float] = {"asked": probability, "threshold": np.nan, "cells": outcomes.cells}
        if chosen is not None:
            row["threshold"] = outcomes.thresholds[chosen]
            row["coverage"] = reported[chosen] / outcomes.cells
            row["right"] = outcomes.right[chosen].sum() / decided[chosen]
            row["lower"] = bounds[chosen]
        rows.append(row)
    columns = ["asked", "threshold", "cells", "coverage", "right", "lower"]
    return pd.DataFrame(rows, columns=columns)


def curve(outcomes: Outcomes, reachability: np.ndarray) -> pd.DataFrame:
    """Coverage and precision at each threshold.

    Returns:
        One row per threshold: threshold, cells, coverage (share of cells with a type), right (share
        of the reports that labels decide), and as shares of all reports: confirmed, credited and
        leaf_share (reports of types without descendants); depth, the mean number of types above the
        reported one. NaN if there are no such reports.
    """
    counts = (outcomes.reported, outcomes.right, outcomes.undecided)
    reported, right, undecided = (table.sum(axis=1) for table in counts)
    leaf, above = reachability.sum(axis=1) == 1, reachability.sum(axis=0) - 1
    some = np.where(reported > 0, reported, np.nan)
    decided = np.where(reported > undecided, reported - undecided, np.nan)
    return pd.DataFrame(
        {
            "threshold": outcomes.thresholds,
            "cells": outcomes.cells,
            "coverage": reported / max(outcomes.cells, 1),
            "right": right / decided,
            "confirmed": right / some,
            "credited": (right + undecided) / some,
            "leaf_share": outcomes.reported[:, leaf].sum(axis=1) / some,
            "depth": outcomes.reported @ above / some,
        }
    )


def kept(curve_of_set: pd.DataFrame, calibrated: pd.DataFrame) -> pd.DataFrame:
    """The curve of a set of cells at the calibrated thresholds.

    Args:
        curve_of_set: see `curve`.
        calibrated: see `calibrate`.

    Returns:
        asked and the columns of the curve; NaN without a threshold.
    """
    return calibrated[["asked", "threshold"]].merge(curve_of_set, on="threshold", how="left")


def by_type(outcomes: Outcomes, threshold: float, labels: Sequence[str]) -> pd.DataFrame:
    """One row per type reported at a threshold: type, cells, decided (cells), right (share)."""
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
    outcomes: Mapping[str, Outcomes], calibrated: pd.DataFrame, trained: TrainedModel
) -> dict[str, pd.DataFrame]:
    """The tables that describe the back-off on every set.

    Args:
        outcomes: set → result of `count_outcomes`.
        calibrated: see `calibrate`.
        trained: the model.

    Returns:
        coverage: set and the columns of `curve`. calibrated_precision: set and the columns of
        `kept`. calibrated_precision_types: set, asked and the columns of `by_type`, at `SHOWN` or
        the next smaller precision that was calibrated; empty if there is none.
    """
    labels = trained.types["label"].tolist()
    columns = {
        "coverage": ["set", *CURVE],
        "calibrated_precision": ["set", "asked", *CURVE],
        "calibrated_precision_types": CALIBRATED_TYPES,
    }
    made: dict[str, list[pd.DataFrame]] = {name: [] for name in columns}
    usable = calibrated[calibrated["asked"] <= SHOWN].dropna(subset="threshold")
    for name, found in outcomes.items():
        of_set = curve(found, trained.reachability)
        made["coverage"].append(of_set.assign(set=name))
        made["calibrated_precision"].append(kept(of_set, calibrated).assign(set=name))
        for asked, threshold in usable[["asked", "threshold"]].tail(1).to_numpy():
            of_types = by_type(found, threshold, labels)
            made["calibrated_precision_types"].append(of_types.assign(set=name, asked=asked))
    made["calibrated_precision_types"].append(pd.DataFrame(columns=CALIBRATED_TYPES))
    return {
        name: pd.concat(parts, ignore_index=True)[columns[name]] for name, parts in made.items()
    }
