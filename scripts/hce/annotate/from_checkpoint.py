"""Makes an annotator of a checkpoint of the paper's code, without any cells."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hce.annotate.annotator import Annotator
from hce.annotate.by_results import Calibration
from hce.models.published_checkpoints import published_provenance, read_published_checkpoint
from hce.models.trained_model import assemble
from hce.ontology import Hierarchy
from hce.ontology.terms import Terms


def annotator_of(
    path: str | Path,
    model: Mapping[str, Any],
    loss: Mapping[str, Any],
    genes: pd.DataFrame,
    hierarchy: Hierarchy,
    terms: Terms,
    known: Calibration,
    seed: int,
    data: Mapping[str, Any],
    licence: str | None = None,
) -> Annotator:
    """Makes an annotator of a published checkpoint.

    Nothing is known of the novelty of cells, because that needs training cells.

    Args:
        path: the checkpoint.
        model: class and arguments of the expected model.
        loss: class and arguments of the loss that it was trained with.
        genes: feature_id and feature_name, in column order.
        hierarchy: its types.
        terms: what may be answered.
        known: its scores and calibration.
        seed: its number among the training runs.
        data: what is known of its training data, plain values.
        licence: of the checkpoint.

    Raises:
        UserError: see `read_published_checkpoint`.
    """
    found = read_published_checkpoint(
        *(path, model["class"], model["arguments"], genes["feature_id"].tolist()),
        *(hierarchy.labels, hierarchy.reachability),
    )
    trained = assemble(
        *(model, loss, found.model.state_dict(), genes, hierarchy.types[["cl_id", "label"]]),
        hierarchy.reachability,
        published_provenance(found, model, loss, seed) | {"data": dict(data), "licence": licence},
    )
    return Annotator(
        trained, known.calibrated, known.scores, terms=terms, reliability=known.reliability
    )
