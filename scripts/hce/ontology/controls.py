"""Controls: is it the hierarchy that helps, or something that comes along with it?

A fit whose loss takes another reachability than the run's shows what the right hierarchy is worth:
it is trained and stopped by that reachability alone, and scored by the run's. Scores of one loss at
the epoch at which the other was stopped show whether early stopping favours one of them.
"""

import logging

import numpy as np
import pandas as pd

from hce.metrics import KINDS
from hce.ontology.hierarchy import Hierarchy, Ontology

logger = logging.getLogger(__name__)

PLACEBO = "placebo"
# The permutation of the placebo is the same in every run over the same types.
SEED = 1
COLUMNS = ["control", "model", "loss", "seed", "set", "decoder", "score", "value"]
# Scores that a history has of a set, as `<set>_<score>`.
HISTORY_SCORES = tuple(f"{kind}_macro_f1" for kind in KINDS)


def placebo_reachability(reachability: np.ndarray) -> np.ndarray:
    """The same graph with its types permuted: as many relations, and none that means anything.

    Args:
        reachability: bool (C, C).

    Returns:
        bool (C, C).
    """
    order = np.random.default_rng(SEED).permutation(len(reachability))
    return reachability[np.ix_(order, order)]


def reachability_by(hierarchy: Hierarchy, ontology: Ontology) -> np.ndarray:
    """Reachability of the run's types by another ontology, bool (C, C).

    Raises:
        UserError: the ontology lacks a type, see `Hierarchy.build`.
    """
    types = hierarchy.types
    labels = dict(zip(types["cl_id"], types["label"], strict=True))
    return Hierarchy.build(labels, ontology).reachability


def log_difference(reachability: np.ndarray, other: np.ndarray) -> None:
    """Logs how many relations two reachabilities (bool (C, C)) have in common."""
    same = np.eye(len(reachability), dtype=bool)
    counts = [int((pairs & ~same).sum()) for pairs in (reachability, other, reachability & other)]
    logger.info("relations of the run, of the control, in common: %d, %d, %d", *counts)


def matched_epochs(history: pd.DataFrame, baseline: str, compared: str) -> pd.DataFrame:
    """Scores of either loss at the epoch at which the other one was best by validation.

    Args:
        history: `history.tsv`: model, loss, seed, epoch, kept, and `<set>_<score>` for val and the
            sets that training monitors.
        baseline: one loss.
        compared: the other.

    Returns:
        `COLUMNS`, with control `epoch_of_<other loss>`; the value is missing where the fit stopped
        before that epoch. Models and seeds that lack one of the losses have no rows.
    """
    sets = [
        column.removesuffix(f"_{HISTORY_SCORES[0]}")
        for column in history.columns
        if column.endswith(f"_{HISTORY_SCORES[0]}")
    ]
    rows = []
    for (model, seed), fits in history.groupby(["model", "seed"], sort=False):
        by_loss = {str(loss): rows.set_index("epoch") for loss, rows in fits.groupby("loss")}
        for loss, other in ((baseline, compared), (compared, baseline)):
            if loss not in by_loss or other not in by_loss:
                continue
            epoch = by_loss[other]["kept"].idxmax()
            for name in sets:
                for score in HISTORY_SCORES:
                    column = by_loss[loss][f"{name}_{score}"]
                    value = float(column.get(epoch, np.nan))
                    head = (f"epoch_of_{other}", model, loss, seed, name)
                    rows.append((*head, "argmax", score, value))
    return pd.DataFrame(rows, columns=COLUMNS)
