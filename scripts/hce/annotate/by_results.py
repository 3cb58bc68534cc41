"""Calibrates a model on predictions of it that were published, without its cells."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from hce.annotate import calibration
from hce.annotate.annotator import SCORES
from hce.annotate.outcomes import tally_outcomes
from hce.evaluation.published_results import (
    Results,
    read_probabilities,
    read_results,
    read_studies,
    score_results,
)
from hce.ontology import Hierarchy, Ontology
from hce.ontology.targets import Targets
from hce.ontology.terms import Terms
from hce.ontology.vocabularies import KEPT_CELLS, count_kept, make_table

# What the targets call the release of the cells.
RELEASE = "published"


@dataclass(frozen=True)
class Calibration:
    """What is known of a model; empty tables where nothing is.

    Attributes:
        calibrated: see `calibration.calibrate`.
        reliability: see `calibration.reliability`.
        scores: set, decoder, score, value.
    """

    calibrated: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=calibration.CALIBRATED)
    )
    reliability: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=calibration.RELIABILITY)
    )
    scores: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SCORES))


def calibrate_by_results(
    path: str | Path, set_name: str, hierarchy: Hierarchy, terms: Terms, ontology: Ontology
) -> Calibration:
    """Scores published predictions, and calibrates the back-off on them.

    The studies calibrate one another, see `calibration`; with fewer than `MIN_STUDIES`, or where
    the file does not name the studies, nothing is calibrated. The vocabulary of a study is that
    of the cells in the file.

    Args:
        path: a file of detailed results, see `published_results`.
        set_name: the set that it predicts.
        hierarchy: the types.
        terms: what may be answered.
        ontology: the ontology of both.

    Raises:
        UserError: it is not such a file, or has other types.
    """
    results, studies = read_results(path, hierarchy), read_studies(path)
    if studies is None:
        return Calibration(scores=_scores(results, None, hierarchy, set_name))
    cells = pd.DataFrame({"study": studies, "label": results.label})
    vocabularies = make_table(count_kept(cells, hierarchy.types), ontology, RELEASE, KEPT_CELLS)
    targets = Targets.build(vocabularies, terms.as_hierarchy(), ontology)
    of_cells = targets.of_cells(RELEASE, studies, results.label)
    study_aware = targets.answers[of_cells, results.prediction]
    scores = _scores(results, study_aware, hierarchy, set_name)
    groups, names = pd.factorize(studies)
    if len(names) < calibration.MIN_STUDIES:
        return Calibration(scores=scores)
    batches = read_probabilities(path, len(hierarchy))
    probabilities = (torch.from_numpy(np.array(p, dtype=np.float32)) for p in batches)
    new = tally_outcomes(probabilities, terms, targets, of_cells, groups)
    calibrated = calibration.calibrate(new, new, by_donor=False)
    return Calibration(calibrated, calibration.reliability({}, calibrated, new), scores)


def _scores(
    results: Results, study_aware: np.ndarray | None, hierarchy: Hierarchy, set_name: str
) -> pd.DataFrame:
    scores = score_results(results, study_aware, hierarchy)
    return scores.assign(set=set_name, decoder="argmax")[SCORES]
