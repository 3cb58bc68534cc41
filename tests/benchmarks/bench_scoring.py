"""Scoring as many predictions as the paper's OOD set has, beside scikit-learn.

2.6 million cells of 80 of the 164 types in 21 studies, with donors, tissues, diseases and assays as
many as the Census has; two thirds are predicted right. All tables of a fit with one decoder are
made: overall, every stratum of all kinds, every type, calibration, and the counts by donor. Scoring
has a process of its own, whose peak memory is taken.
"""

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from bench_loss_step import hierarchy, ontology
from harness import Result, interleaved_medians
from sklearn.metrics import classification_report

from hce.evaluation.calibration_error import CHANCES
from hce.evaluation.scoring import score_fit
from hce.evaluation.strata import GROUPED
from hce.metrics import confusion, credit, type_scores
from hce.ontology import Hierarchy
from hce.ontology.targets import Targets
from hce.ontology.vocabularies import count_kept, make_table

CELLS = 2_600_000
TYPES = 80
# Distinct values of each stratum.
VALUES = {"study": 21, "donor": 470, "tissue": 60, "tissue_general": 16, "disease": 30, "assay": 7}
RIGHT = 2 / 3
REPEATS = 3


def simulated(types: Hierarchy) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cell table and the predictions."""
    rng = np.random.default_rng(0)
    n_types = len(types)
    common = rng.dirichlet(np.full(TYPES, 0.5))
    label = rng.choice(n_types, TYPES, replace=False)[rng.choice(TYPES, CELLS, p=common)]
    joinid = np.arange(CELLS, dtype=np.int64)
    cells = pd.DataFrame({"soma_joinid": joinid, "set": pd.Categorical(["ood"] * CELLS)})
    # Cells of a study follow each other, and have a few tissues and diseases.
    study = np.sort(rng.integers(0, VALUES["study"], CELLS))
    for column in GROUPED:
        codes = study
        if column == "donor":  # some twenty a study
            codes = study + VALUES["study"] * rng.integers(0, 470 // 21, CELLS)
        elif column != "study":
            codes = (3 * study + rng.integers(0, 4, CELLS)) % VALUES[column]
        names = [f"{column} {i}" for i in range(VALUES[column])]
        cells[column] = pd.Categorical.from_codes(codes, names)
    prediction = np.where(rng.random(CELLS) < RIGHT, label, rng.integers(0, n_types, CELLS))
    predictions = pd.DataFrame(
        {
            "soma_joinid": joinid,
            "label": label.astype(np.int16),
            "prediction_argmax": prediction.astype(np.int16),
        }
    )
    for chance in CHANCES:
        predictions[f"{chance}_argmax"] = rng.random(CELLS, dtype=np.float32)
    return cells, predictions


def number_targets(cells: pd.DataFrame, types: Hierarchy) -> Targets:
    """The targets of the cells' studies, whose vocabularies are the labels of these cells."""
    table = make_table(count_kept(cells, types.types), ontology(), "release")
    return Targets.build(table, types, ontology())


def score(folder: str, types: Hierarchy, answer: "multiprocessing.Queue[tuple]") -> None:
    """Makes all tables; answers with the seconds and the peak memory in GB."""
    targets = Targets.load(f"{folder}/targets.npz")
    start = time.perf_counter()
    files = [f"{folder}/ood.parquet"], ["ood"], ["argmax"], [f"{folder}/release.parquet"]
    score_fit(*files, types, targets)
    seconds = time.perf_counter() - start
    answer.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9))


def one_report(label: np.ndarray, prediction: np.ndarray, types: Hierarchy) -> Callable:
    """Precision, recall and F1 of each type, exact and credited."""

    def report() -> None:
        exact = confusion(label, prediction, len(types))[0]
        type_scores(exact)
        type_scores(credit(exact, types.reachability))

    return report


def sklearns_report(label: np.ndarray, prediction: np.ndarray, types: Hierarchy) -> Callable:
    """The same by scikit-learn, on labels that are credited cell by cell."""
    credited = np.where(types.reachability[label, prediction], label, prediction)

    def report() -> None:
        for predicted in (prediction, credited):
            classification_report(label, predicted, output_dict=True, zero_division=0)

    return report


def run() -> list[Result]:
    """Seconds and memory of all tables; seconds of one report beside scikit-learn's."""
    types = hierarchy()
    cells, predictions = simulated(types)
    label = predictions["label"].to_numpy(np.int64)
    prediction = predictions["prediction_argmax"].to_numpy(np.int64)
    calls = {
        "ours": one_report(label, prediction, types),
        "sklearn": sklearns_report(label, prediction, types),
    }
    medians = interleaved_medians(calls, 1, REPEATS)
    with tempfile.TemporaryDirectory() as folder:
        cells.to_parquet(f"{folder}/release.parquet")
        number_targets(cells.assign(label=label), types).save(f"{folder}/targets.npz")
        predictions.to_parquet(f"{folder}/ood.parquet")
        del cells, predictions, label, prediction, calls
        # Spawned, so that its memory is that of the scoring alone.
        context = multiprocessing.get_context("spawn")
        answer = context.Queue()
        process = context.Process(target=score, args=(folder, types, answer))
        process.start()
        seconds, gigabytes = answer.get()
        process.join()
    return [
        Result("scoring: all tables of 2.6 M cells", seconds, "s", target=5),
        Result("scoring: peak memory of that", gigabytes, "GB", target=1),
        Result(
            "scoring: one report, exact and credited",
            medians["ours"],
            "s",
            peer="scikit-learn's classification_report",
            peer_value=medians["sklearn"],
            target=0.1,
        ),
    ]
