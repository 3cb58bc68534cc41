"""What the back-off can promise: thresholds on s, calibrated on validation cells.

A type is reported for a cell where its s reaches a threshold. It is right where the author's label
is that type or one below it, and wrong where the label is neither below nor above it. A label
above the reported type ("T cell" for a reported "CD4 T cell") decides nothing: `right` is the share
among the reports that labels decide. What the undecided ones are stays open between two bounds:
none right (`confirmed`) or all (`credited`, as in the scores).

A threshold is chosen for each asked probability by fixed-sequence testing (Angelopoulos et al.,
"Learn then Test", arXiv 2110.01052): from the strictest threshold that reports enough cells
downwards, each is kept while a lower confidence bound of the share of right reports reaches the
asked probability. So the asked probability is missed with at most the chance `ERROR`, for new cells
that come about as the validation cells did: from other donors of the same studies. New studies are
not of that kind: there, coverage and correctness are measured and not promised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import stats

from hce.batches.in_memory import Batches
from hce.decoding import back_off, below
from hce.models import takes_sparse
from hce.models.trained_model import TrainedModel
from hce.store.cell_store import CellStore

ASKED = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99)
THRESHOLDS = np.array(
    [*np.arange(0.1, 0.3, 0.05), *np.arange(0.3, 0.985, 0.02), 0.99, 0.995, 0.999, 0.9999]
)
SHOWN = 0.9
"""The asked probability at which single types are shown."""
ERROR = 0.05
"""Chance with which a calibrated threshold misses its probability."""
CURVE = ["threshold", "cells", "coverage", "right", "confirmed", "credited", "leaf_share"]
PROMISE_TYPES = ["set", "asked", "type", "cells", "decided", "right"]
MIN_COVERAGE, MIN_CELLS = 0.05, 50
"""The sequence of tests begins where labels decide the reports of so many cells."""


@dataclass(frozen=True)
class Outcomes:
    """What the back-off reports at each of T thresholds, by reported type and by donor.

    Attributes:
        thresholds: float64 (T,), ascending.
        cells: in all.
        reported: int64 (T, C), cells that got the type.
        right: int64 (T, C), of these the cells whose label is the type or below it.
        undecided: int64 (T, C), of these the cells whose label is above it.
        decided_of: int64 (T, G), cells of each group that got a type which their label decides.
        right_of: int64 (T, G), of these the right ones.
    """

    thresholds: np.ndarray
    cells: int
    reported: np.ndarray
    right: np.ndarray
    undecided: np.ndarray
    decided_of: np.ndarray
    right_of: np.ndarray


def donors_of(cells: pd.DataFrame) -> np.ndarray:
    """The number of each cell's donor, which is unique only within a study; int64 (cells,)."""
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
    """Reads the cells of a store at all thresholds, in one pass and bounded memory.

    Args:
        trained: the model; moved to the device with its loss.
        store: cells over the model's genes.
        groups: of each cell, int64 (cells,), from 0.
        batch_size: cells at a time.
        device: where the model runs.
        thresholds: ascending.
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
    """A bound that the probability of being right exceeds, but for the chance `ERROR`.

    The smaller of Clopper and Pearson's, which takes cells as independent, and, where groups are
    donors, that of a ratio estimator over donors (Student's t with one degree less than there are
    donors).

    Args:
        right: int64 (G,), right reports of each group.
        decided: int64 (G,), reports of each group that labels decide.
        by_donor: whether groups are donors, whose cells are alike; else only the sums count.
    """
    n, k = int(decided.sum()), int(right.sum())
    if k == 0:
        return 0.0
    bound = float(stats.beta.ppf(ERROR, k, n - k + 1))
    if not by_donor:
        return bound
    groups = int((decided > 0).sum())
    if groups < 2:
        return 0.0
    residuals = (right - k / n * decided)[decided > 0]
    error = np.sqrt(groups / (groups - 1) * (residuals**2).sum()) / n
    return min(bound, float(k / n - stats.t.ppf(1 - ERROR, groups - 1) * error))


def promises(outcomes: Outcomes, by_donor: bool, asked: Sequence[float] = ASKED) -> pd.DataFrame:
    """The threshold for each asked probability.

    Args:
        outcomes: of the validation cells.
        by_donor: whether their groups are donors.
        asked: the probabilities.

    Returns:
        A row an asked probability: asked, threshold (NaN where it cannot be promised), and of the
        validation cells: cells, coverage (share that gets a type), right, lower.
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
    """Coverage and correctness at each threshold.

    Returns:
        threshold, cells, coverage (share that got a type), right (share of the reports that labels
        decide), and as shares of all reports confirmed, credited and leaf_share (whose type has
        none below it); NaN where there are none.
    """
    counts = (outcomes.reported, outcomes.right, outcomes.undecided)
    reported, right, undecided = (table.sum(axis=1) for table in counts)
    leaf = reachability.sum(axis=1) == 1
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
        }
    )


def kept(curve_of_set: pd.DataFrame, promised: pd.DataFrame) -> pd.DataFrame:
    """What a set of cells gives at the calibrated thresholds.

    Args:
        curve_of_set: see `curve`.
        promised: see `promises`.

    Returns:
        asked, and the columns of the curve: NaN where nothing is promised.
    """
    return promised[["asked", "threshold"]].merge(curve_of_set, on="threshold", how="left")


def by_type(outcomes: Outcomes, threshold: float, labels: Sequence[str]) -> pd.DataFrame:
    """The reported types at a threshold: type, cells, decided (cells), right (share of these)."""
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
    outcomes: Mapping[str, Outcomes], promised: pd.DataFrame, trained: TrainedModel
) -> dict[str, pd.DataFrame]:
    """What the back-off does on every set.

    Args:
        outcomes: set → what `count_outcomes` gave.
        promised: see `promises`.
        trained: the model.

    Returns:
        coverage: set and the columns of `curve`. promises: set and the columns of `kept`.
        promise_types: set, asked and the columns of `by_type`, at `SHOWN` or the next smaller
        probability that is promised; empty where there is none.
    """
    labels = trained.types["label"].tolist()
    made: dict[str, list[pd.DataFrame]] = {"coverage": [], "promises": [], "promise_types": []}
    usable = promised[promised["asked"] <= SHOWN].dropna(subset="threshold")
    for name, found in outcomes.items():
        of_set = curve(found, trained.reachability)
        made["coverage"].append(of_set.assign(set=name))
        made["promises"].append(kept(of_set, promised).assign(set=name))
        for asked, threshold in usable[["asked", "threshold"]].tail(1).to_numpy():
            of_types = by_type(found, threshold, labels)
            made["promise_types"].append(of_types.assign(set=name, asked=asked))
    made["promise_types"].append(pd.DataFrame(columns=PROMISE_TYPES))
    columns = {
        "coverage": ["set", *CURVE],
        "promises": ["set", "asked", *CURVE],
        "promise_types": PROMISE_TYPES,
    }
    return {
        name: pd.concat(parts, ignore_index=True)[columns[name]] for name, parts in made.items()
    }
