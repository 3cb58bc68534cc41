"""What the back-off answers for cells whose label is not a type of the model.

Their right answer is known nevertheless: a type or term that the label is or lies below, or, if
there is none, no answer. Answers are right, wrong or undecided by the rule of `outcomes`.
"""

import numpy as np
import pandas as pd
import torch

from hce.annotate.annotator import Annotator
from hce.annotate.calibration import SHOWN
from hce.annotate.novelty import score_store
from hce.annotate.outcomes import count_outcomes
from hce.ontology import Ontology
from hce.ontology.targets import Targets
from hce.ontology.terms import Terms
from hce.store.cell_store import CellStore

COLUMNS = [
    *("cl_id", "label", "relation", "reference_cells", "right_answer", "asked", "cells"),
    *("right", "wrong", "undecided", "unanswered", "novel"),
]
# How a label lies to the types.
TYPE, ABOVE, BELOW, BESIDE = "type", "above", "below", "beside"
NONE = "none"
"""The right answer for a label without an answer at or above it."""


def score_open_labels(
    annotator: Annotator,
    store: CellStore,
    vocabularies: pd.DataFrame,
    release: str,
    ontology: Ontology,
    min_cells: int,
    batch_size: int,
    device: torch.device,
) -> pd.DataFrame:
    """Counts the outcomes of the cells of each open label, at the precision `SHOWN`.

    Args:
        annotator: the model with its calibration.
        store: cells over the model's genes, see `select_open_cells`.
        vocabularies: of the stored cells' release and of others.
        release: the release of the stored cells.
        ontology: the ontology of the labels.
        min_cells: a term with fewer cells in a study is not part of its vocabulary.
        batch_size: cells at a time.
        device: where the model runs.

    Returns:
        `COLUMNS` but reference_cells, one row per label. The numbers of right, wrong, undecided
        and unanswered cells add up to cells. Empty if no threshold is calibrated for `SHOWN` or
        less.
    """
    cells = store.cells(["study", "cl_id"])
    reached = annotator.calibrated_precision.dropna(subset="threshold")
    reached = reached[reached["asked"] <= SHOWN]
    if cells.empty or reached.empty:
        return pd.DataFrame(columns=[name for name in COLUMNS if name != "reference_cells"])
    asked, threshold = reached.sort_values("asked")[["asked", "threshold"]].to_numpy()[-1]
    terms = annotator.answers.with_labels(cells["cl_id"].unique(), ontology)
    position = {ontology.current(t): i for i, t in enumerate(terms.table["cl_id"])}
    labels = cells["cl_id"].map(lambda t: position[ontology.current(t)]).to_numpy(np.int64)
    used = vocabularies[
        (vocabularies["release"] == release) & vocabularies["study"].isin(cells["study"].unique())
    ]
    targets = Targets.build(used, terms.as_hierarchy(), ontology, min_cells)
    novel = np.zeros(len(cells), dtype=bool)
    if annotator.novelty is not None:
        scored = score_store(
            annotator.trained, annotator.novelty.log_shares, store, batch_size, device
        )
        novel = (scored["novelty"] > annotator.novelty.threshold).to_numpy()
    found, groups = np.unique(labels, return_inverse=True)
    outcomes = count_outcomes(
        *(annotator.trained, terms, store, targets),
        *(targets.of_cells(release, cells["study"], labels), groups, batch_size, device),
        np.array([threshold]),
        novel,
    )
    rows = describe_labels(terms, found).assign(asked=asked, cells=outcomes.cells_of)
    silent = outcomes.cells_of - outcomes.reported_of[0]
    rightly = silent * (rows["right_answer"] == NONE).to_numpy()
    rows["right"] = outcomes.right_of[0] + rightly
    rows["wrong"] = outcomes.decided_of[0] - outcomes.right_of[0]
    rows["undecided"] = outcomes.undecided_of[0]
    rows["unanswered"] = silent - rightly
    rows["novel"] = np.bincount(groups, novel, len(found)).astype(np.int64)
    return rows


def describe_labels(terms: Terms, positions: np.ndarray) -> pd.DataFrame:
    """How labels lie to the types, and what the right answer for their cells is.

    Args:
        terms: what may be answered, with the labels.
        positions: of the labels among the terms, int64 (L,).

    Returns:
        cl_id, label, relation and right_answer: the label of the most specific answer that the
        label is or lies below, `NONE`, or missing where all answers lie below the label.
    """
    depth = terms.table["depth"].to_numpy()
    rows = []
    for position in positions:
        above = terms.reachability[: terms.n_types, position]
        if position < terms.n_types:
            relation = TYPE
        elif terms.members[position].any():
            relation = ABOVE
        else:
            relation = BELOW if above.any() else BESIDE
        right = terms.answerable[terms.reachability[terms.answerable, position]]
        answer: str | None = None if relation == ABOVE else NONE
        if len(right):
            answer = terms.labels[right[np.argmax(depth[right])]]
        rows.append((*terms.table.loc[position, ["cl_id", "label"]], relation, answer))
    return pd.DataFrame(rows, columns=["cl_id", "label", "relation", "right_answer"])


def cells_with(vocabularies: pd.DataFrame, cl_ids: pd.Series, ontology: Ontology) -> pd.Series:
    """How many cells of some vocabularies have each term as their label, int64."""
    current = vocabularies["cl_id"].map(ontology.current)
    counted = vocabularies.groupby(current)["cells"].sum()
    return cl_ids.map(ontology.current).map(counted).fillna(0).astype("int64")
