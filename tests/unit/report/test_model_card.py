"""The card of a model says what its file holds, and what it does not."""

from dataclasses import replace

import pandas as pd

from annotators import LABELS, make_annotator, profiles
from hce.annotate.calibration import CALIBRATED, DONORS, RELIABILITY
from hce.annotate.novelty import Novelty
from hce.report.model_card import model_card

PATH = "models/linear_hce_0.hce"


def test_it_has_the_data_scores_precision_and_types():
    annotator = make_annotator()
    annotator.trained.provenance.update(
        data={"release": "2023-05-15", "uri": "s3://b/soma"}, licence="CC0"
    )
    card = model_card(annotator, PATH)
    assert card.startswith("# linear_hce_0\n")
    for text in ("release 2023-05-15, uri s3://b/soma", "| id  |     75.0 |", "\nCC0\n"):
        assert text in card
    assert "| 0.9       | 0.8       | 8 new studies" in card
    assert "validation cells | 90%      | 95%" in card
    tree = card.split("## Types")[1]
    assert all(label in tree for label in LABELS)
    assert "Nothing tells cells of no known type" in card
    assert "lower on new studies" not in card


def test_it_says_what_is_not_known():
    annotator = make_annotator()
    bare = replace(
        annotator,
        calibrated_precision=pd.DataFrame(columns=CALIBRATED),
        reliability=pd.DataFrame(columns=RELIABILITY),
        scores=annotator.scores[:0],
        novelty=Novelty(profiles(), 3.0, 1),
    )
    card = model_card(bare, PATH)
    for text in (
        *("Trained on: not recorded", "None are known.", "`--no-back-off`", "does not state one"),
        *("Nothing is promised", "not measured on new studies"),
    ):
        assert text in card
    assert "Nothing tells cells of no known type" not in card
    donors = replace(
        annotator, calibrated_precision=annotator.calibrated_precision.assign(basis=DONORS)
    )
    assert "lower on new studies" in model_card(donors, PATH)
