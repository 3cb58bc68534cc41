"""Controls: whether a gain is due to the hierarchy or to something else.

A fit whose loss uses another reachability than that of the run shows how much the right hierarchy
matters: it is trained and stopped with the other reachability and scored with that of the run. One
whose studies take each other's vocabularies shows how much it matters that a vocabulary is the
study's own. One without the cells of the types below another type shows whether that
type gains by its relatives.
"""

import logging

import numpy as np
import pandas as pd

from hce.errors import UserError
from hce.ontology.hierarchy import Hierarchy, Ontology

logger = logging.getLogger(__name__)

PLACEBO = "placebo"
# Permutations are the same in every run over the same types or studies.
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


def permuted_studies(vocabularies: pd.DataFrame) -> dict[tuple[str, str], tuple[str, str]]:
    """For each study another one of the release, whose vocabulary it takes: no two take the same.

    Args:
        vocabularies: of one release, see `vocabularies.make_table`.

    Returns:
        (release, study) → (release, study), for `Targets.build`.

    Raises:
        UserError: there is only one study.
    """
    studies = sorted(set(zip(vocabularies["release"], vocabularies["study"], strict=True)))
    if len(studies) == 1:
        raise UserError(
            f"Release {studies[0][0]} has one study, whose vocabulary no other one can take: leave "
            "losses with the reachability permuted_vocabularies out of controls.losses."
        )
    order = [studies[i] for i in np.random.default_rng(SEED).permutation(len(studies))]
    return dict(zip(order, [*order[1:], order[0]], strict=True))


def left_out_types(
    reachability: np.ndarray, train_cells: np.ndarray, below: int, elsewhere: bool
) -> np.ndarray:
    """The types whose cells a control trains without.

    Args:
        reachability: bool (C, C).
        train_cells: int (C,), training cells of each type.
        below: index of a type.
        elsewhere: instead of the types below it, random ones that have no relation to it, with
            about as many training cells together, and never more.

    Returns:
        bool (C,).

    Raises:
        UserError: the type has nothing below it.
    """
    relatives = reachability[below].copy()
    relatives[below] = False
    if not relatives.any():
        raise UserError(
            f"No type lies below type number {below}, which left_out.below names: name one with "
            "descendants."
        )
    if not elsewhere:
        return relatives
    wanted, total = int(train_cells[relatives].sum()), 0
    found = np.zeros_like(relatives)
    others = np.flatnonzero(~reachability[below] & ~reachability[:, below])
    for index in np.random.default_rng(SEED).permutation(others):
        if total + train_cells[index] <= wanted:
            found[index] = True
            total += int(train_cells[index])
    return found


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
