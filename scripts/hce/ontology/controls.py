"""Controls: whether a gain is due to the hierarchy or to something else.

A fit whose loss uses another reachability than that of the run shows how much the right hierarchy
matters: it is trained and stopped with the other reachability and scored with that of the run.
"""

import logging

import numpy as np

from hce.ontology.hierarchy import Hierarchy, Ontology

logger = logging.getLogger(__name__)

PLACEBO = "placebo"
# The permutation of the placebo is the same in every run over the same types.
SEED = 1


def placebo_reachability(reachability: np.ndarray) -> np.ndarray:
    """The same graph with permuted types: the same number of relations, without meaning.

    Args:
        reachability: bool (C, C).

    Returns:
        bool (C, C).
    """
    order = np.random.default_rng(SEED).permutation(len(reachability))
    return reachability[np.ix_(order, order)]


def reachability_by(hierarchy: Hierarchy, ontology: Ontology) -> np.ndarray:
    """Reachability of the run's types in another ontology, bool (C, C).

    Raises:
        UserError: the ontology lacks a type, see `Hierarchy.build`.
    """
    types = hierarchy.types
    labels = dict(zip(types["cl_id"], types["label"], strict=True))
    return Hierarchy.build(labels, ontology).reachability


def log_difference(reachability: np.ndarray, other: np.ndarray) -> None:
    """Logs the number of relations that two reachabilities (bool (C, C)) have in common."""
    same = np.eye(len(reachability), dtype=bool)
    counts = [int((pairs & ~same).sum()) for pairs in (reachability, other, reachability & other)]
    logger.info("relations of the run, of the control, in common: %d, %d, %d", *counts)
