"""Calibration on published predictions: each cell as the back-off would answer it."""

import numpy as np
import pandas as pd
import pytest

from hce.annotate.by_results import calibrate_by_results
from hce.annotate.calibration import MIN_STUDIES, NEW, STUDIES
from hce.ontology import Hierarchy
from hce.ontology.terms import Terms

LABELS = ["B cell", "T cell", "CD4-positive, alpha-beta T cell", "naive B cell", "platelet"]
N = 4000


@pytest.fixture(scope="module")
def small(slim):
    ids = {label: cl_id for cl_id, label in slim.names.items()}
    hierarchy = Hierarchy.build({ids[label]: label for label in LABELS}, slim)
    return hierarchy, Terms.above(hierarchy, slim)


def write(path, hierarchy, studies, **changes):
    """Probabilities of which the largest is that of the label in 19 of 20 cells."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, len(LABELS), N)
    shown = np.where(rng.random(N) < 0.05, rng.integers(0, len(LABELS), N), label)
    logits = rng.normal(0, 1, (N, len(LABELS)))
    logits[np.arange(N), shown] += 5
    p = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    names = np.array(hierarchy.labels)
    table = pd.DataFrame(
        {
            "y_true": names[label],
            "y_pred": names[p.argmax(axis=1)],
            "dataset_id": [f"s{i % studies}" for i in range(N)],
            "y_probs": list(p),
        }
    ).assign(**changes)
    table.drop(columns=[name for name in table if table[name].isna().all()]).to_parquet(path)
    return label, p


def test_what_is_kept_on_new_studies_is_what_single_cells_get(small, slim, tmp_path):
    hierarchy, terms = small
    label, p = write(tmp_path / "r.parquet", hierarchy, studies=6)
    found = calibrate_by_results(tmp_path / "r.parquet", "ood", hierarchy, terms, slim)
    row = found.calibrated.set_index("asked").loc[0.9]
    assert (row["basis"], row["units"]) == (STUDIES, 6)
    # Each study gets the threshold of the others: here that of all, as the studies are alike.
    s = p.astype(np.float64) @ terms.members.T
    studies = np.arange(N) % 6
    covered, right = [], []
    for study in range(6):
        decided = answered = correct = 0
        for cell in np.flatnonzero(studies == study):
            passing = np.flatnonzero(s[cell] >= row["threshold"])
            if not len(passing):
                continue
            sizes = terms.members[passing].sum(axis=1)
            answer = passing[np.lexsort((-s[cell, passing], sizes))[0]]
            answered += 1
            # Every label is used in every study, so that nothing below a label is undecided
            # but types between it and a finer label.
            is_right = terms.members[answer, label[cell]]
            correct += is_right
            decided += 1
        covered.append(answered / (N // 6 + (study < N % 6)))
        right.append(correct / decided)
    kept = found.reliability.set_index(["asked", "set"]).loc[(0.9, NEW)]
    assert kept["coverage"] == pytest.approx(np.mean(covered), abs=0.02)
    assert kept["right"] == pytest.approx(np.mean(right), abs=0.02)
    scores = found.scores.set_index("score")["value"]
    assert scores["exact_accuracy"] == pytest.approx((p.argmax(axis=1) == label).mean())
    assert scores["study_aware_accuracy"] <= scores["credited_accuracy"]


@pytest.mark.parametrize("studies", [MIN_STUDIES - 1, None])
def test_without_enough_studies_there_are_scores_alone(small, slim, tmp_path, studies):
    hierarchy, terms = small
    without = {"dataset_id": None} if studies is None else {}
    write(tmp_path / "r.parquet", hierarchy, studies or 1, **without)
    found = calibrate_by_results(tmp_path / "r.parquet", "ood", hierarchy, terms, slim)
    assert found.calibrated.empty
    assert found.reliability.empty
    assert ("study_aware_accuracy" in set(found.scores["score"])) == (studies is not None)
    assert set(found.scores["set"]) == {"ood"}
