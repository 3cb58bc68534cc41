"""The authors' own predictions, read from their files and scored with our metrics.

The paper's record (https://zenodo.org/records/17211022) has `<model>_detailed_results.parquet` of
each run on the OOD set, with a row per cell. Its layout follows `model_evaluation.py` of the
paper's code (microsoft/hce-classification, commit cc7e95f): y_true and y_pred are labels, y_pred
the most probable type before crediting; y_probs are the probabilities of all types, in code-point
order of their labels; soma_joinid, dataset_id and further columns of obs lie beside them.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from hce.errors import UserError
from hce.files import read_parquet
from hce.metrics import KINDS, accuracy, confusion, macro_f1
from hce.ontology import Hierarchy
from hce.ontology.targets import Targets

logger = logging.getLogger(__name__)

LABELS = ("y_true", "y_pred")
PROBABILITIES = "y_probs"
CELL = "soma_joinid"
STUDY = "dataset_id"
SAME = "labels are those of the run, row by row"
# Bounds the memory where probabilities are read.
BATCH = 1 << 14


@dataclass(frozen=True)
class Results:
    """Predictions of a file.

    Attributes:
        label: int64 (n,), type index of y_true.
        prediction: int64 (n,), type index of y_pred.
        soma_joinid: int64 (n,), or None where the file does not name its cells.
    """

    label: np.ndarray
    prediction: np.ndarray
    soma_joinid: np.ndarray | None


def read_results(path: str | Path, hierarchy: Hierarchy) -> Results:
    """Reads a file of detailed results.

    Args:
        path: the Parquet file.
        hierarchy: the run's types.

    Raises:
        UserError: it is not such a file, or has other types than the run.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if missing := [name for name in LABELS if name not in names]:
                raise UserError(
                    f"{path} has no column {missing[0]}: name a detailed_results.parquet of the "
                    "paper's record in published."
                )
            columns = [*LABELS, *([CELL] if CELL in names else [])]
            table = file.read(columns=columns).to_pandas()
            labels, predictions = (_types_of(path, table[name], hierarchy) for name in LABELS)
            if PROBABILITIES in names:
                _check_probabilities(path, predictions, len(hierarchy))
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path} cannot be read as Parquet ({error}): fetch it again.") from error
    cells = table[CELL].to_numpy(np.int64) if CELL in table else None
    return Results(labels, predictions, cells)


def _types_of(path: str | Path, labels: pd.Series, hierarchy: Hierarchy) -> np.ndarray:
    names, index = np.unique(labels.to_numpy(str), return_inverse=True)
    found = pd.Index(hierarchy.labels).get_indexer(pd.Index(names))
    if (found < 0).any():
        raise UserError(
            f"{path} has other types than the run: {(found < 0).sum()} of its {len(names)} labels "
            f"in {labels.name}, the first is {str(names[found < 0][0])!r}, are not among the "
            f"{len(hierarchy)} types; take the paper's types (config/config.yaml)."
        )
    return found[index]


def read_probabilities(path: str | Path, n_types: int) -> Iterator[np.ndarray]:
    """The probabilities of the types in a file, (n, C) of some cells after others.

    Raises:
        UserError: it has none, or of another number of types.
    """
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        if PROBABILITIES not in schema.names or not pa.types.is_list(
            schema.field(PROBABILITIES).type
        ):
            raise UserError(
                f"{path} has no lists of probabilities in {PROBABILITIES}: fetch it again."
            )
        for batch in file.iter_batches(BATCH, columns=[PROBABILITIES]):
            values = batch.column(0).flatten().to_numpy(zero_copy_only=False)
            if len(values) != batch.num_rows * n_types:
                raise UserError(
                    f"{path} has other types than the run: {len(values) / batch.num_rows:g} "
                    f"probabilities a cell in {PROBABILITIES}, where the run has {n_types} types."
                )
            yield values.reshape(-1, n_types)


def _check_probabilities(path: str | Path, predictions: np.ndarray, n_types: int) -> None:
    """Checks that there is a probability of each type and that y_pred is the most probable one."""
    start = differ = 0
    for values in read_probabilities(path, n_types):
        best = values.argmax(axis=1)
        differ += int((best != predictions[start : start + len(best)]).sum())
        start += len(best)
    if differ:
        logger.warning(
            "%s: the most probable type by %s differs from y_pred in %d of %d cells",
            *(path, PROBABILITIES, differ, len(predictions)),
        )


def read_studies(path: str | Path) -> pd.Series | None:
    """The study of each cell of a file; None where the file does not say it."""
    names = pq.read_schema(path).names
    if STUDY not in names:
        return None
    return read_parquet(path, columns=[STUDY])[STUDY].astype(str)


def read_own_cells(path: str | Path, set_name: str) -> pd.DataFrame:
    """The cells of an evaluation set in their order: soma_joinid, label (type index), study.

    Args:
        path: the cell table of the set's release.
        set_name: the set.
    """
    table = ds.dataset(path).to_table(
        columns=[CELL, "label", "study"], filter=ds.field("set").cast(pa.string()) == set_name
    )
    return table.unify_dictionaries().to_pandas()


def place_in(
    results: Results, own: pd.DataFrame, path: str | Path
) -> tuple[np.ndarray | None, str]:
    """Where the cells of a file are among those of the run.

    Args:
        results: of the file.
        own: see `read_own_cells`.
        path: the file, for messages.

    Returns:
        The row of `own` of each cell of the file if both have the same cells with the same labels,
        else None; and a sentence on how they compare.

    Raises:
        UserError: the file has none of the cells.
    """
    number = len(results.label)
    if results.soma_joinid is None:
        if number == len(own) and np.array_equal(results.label, own["label"]):
            return np.arange(number), SAME
        return None, (
            f"it does not name its {number:,} cells, and their labels are not row by row those of "
            f"the {len(own):,} cells of the run"
        )
    rows = pd.Index(own[CELL]).get_indexer(results.soma_joinid)
    held = rows >= 0
    if not held.any():
        raise UserError(
            f"{path} has other cells than the run: none of its {number:,} cells is among the "
            f"{len(own):,} of the set; name the set that it was made from in published."
        )
    differ = int((own["label"].to_numpy()[rows[held]] != results.label[held]).sum())
    lost = len(own) - len(np.unique(rows[held]))
    if held.all() and not differ and not lost and number == len(own):
        return rows, SAME
    return None, (
        f"of its {number:,} cells {(~held).sum():,} are not among the run's, which has {lost:,} "
        f"others, and {differ:,} have another label"
    )


def score_results(
    results: Results, study_aware: np.ndarray | None, hierarchy: Hierarchy
) -> pd.DataFrame:
    """The scores of a file's predictions.

    Args:
        results: of the file.
        study_aware: bool (n,), whether the study leaves the prediction to the label; None where
            the studies are not known, and there is no such score.
        hierarchy: its reachability says what is credited.

    Returns:
        score (`<kind>_macro_f1` and `<kind>_accuracy`, see `metrics.KINDS`), value.
    """
    label, prediction = results.label, results.prediction
    right = {
        "credited": hierarchy.reachability[label, prediction],
        "study_aware": study_aware,
        "exact": label == prediction,
    }
    rows = []
    for kind in KINDS:
        if (chosen := right[kind]) is not None:
            counts = confusion(label, np.where(chosen, label, prediction), len(hierarchy))[0]
            rows.append((f"{kind}_macro_f1", float(macro_f1(counts))))
            rows.append((f"{kind}_accuracy", float(accuracy(counts))))
    return pd.DataFrame(rows, columns=["score", "value"])


def score_file(
    path: str | Path,
    own: pd.DataFrame,
    release: str,
    hierarchy: Hierarchy,
    targets: Targets,
) -> pd.DataFrame:
    """Reads and scores a file of detailed results.

    Args:
        path: the Parquet file.
        own: the run's cells of the set, see `read_own_cells`.
        release: that the set is from.
        hierarchy: the run's types.
        targets: which answers the studies of the release leave to their labels.

    Returns:
        score, value, cells (of the file) and compared (how its cells compare with the run's).

    Raises:
        UserError: see `read_results` and `place_in`.
    """
    results = read_results(path, hierarchy)
    rows, told = place_in(results, own, path)
    logger.info("%s: %s", path, told)
    study_aware = None
    if rows is not None:
        numbers = targets.of_cells(release, own["study"].iloc[rows], results.label)
        study_aware = targets.answers[numbers, results.prediction]
    scores = score_results(results, study_aware, hierarchy)
    return scores.assign(cells=len(results.label), compared=told)
