"""Controls: is it the hierarchy that helps, or something that comes along with it?

A fit whose loss takes another reachability than the run's shows what the right hierarchy is worth:
it is trained and stopped by that reachability alone, and scored by the run's.
"""

import logging

import numpy as np

from hce.ontology.hierarchy import Hierarchy, Ontology

logger = logging.getLogger(__name__)

PLACEBO = "placebo"
# The permutation of the placebo is the same in every run over the same types.
SEED = 1


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
