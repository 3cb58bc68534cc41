"""Scores after an epoch: what is credited, by which reachability, and on which targets."""

import numpy as np
import pytest
import torch

from hce.losses import build_loss
from hce.ontology.targets import Targets
from hce.training.loop import ALONE
from hce.training.validation import Judge, validate

R = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).bool()


class Fixed(torch.nn.Module):
    """Answers the same of every cell."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = torch.tensor([logits])

    def forward(self, x):
        return self.logits.expand(len(x), -1)


class OneBatch:
    """Cells of some labels or targets."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = torch.tensor(numbers)

    def __len__(self):
        return len(self.numbers)

    def in_order(self):
        yield torch.zeros(len(self), 1), self.numbers


def test_validation_credits_descendants_and_scores_the_loss_on_credited_targets():
    loss = build_loss("ce", R, torch.tensor([9.0, 1, 1, 1]))
    # Both answered 1, a descendant of 0.
    model, cells = Fixed(0.0, 5.0, 0.0, 0.0), OneBatch(0, 1)
    scores = validate(model, loss, cells, Judge.of(None, loss), ALONE)
    assert scores["credited_macro_f1"] == scores["study_aware_macro_f1"] == 1.0
    assert scores["exact_macro_f1"] == pytest.approx((0 + 2 / 3) / 2)
    wanted = torch.nn.functional.cross_entropy(model.logits, torch.tensor([1])).item()
    assert scores["loss"] == pytest.approx(wanted)


def test_a_predicted_type_without_cells_counts_as_zero_in_the_published_reading():
    loss = build_loss("ce", R, torch.ones(4))
    # A label 3 that is read as 1, of which there are no cells.
    model, cells = Fixed(0.0, 5.0, 0.0, 0.0), OneBatch(0, 3)
    scores = validate(model, loss, cells, Judge.of(None, loss), ALONE)
    assert scores["credited_macro_f1"] == pytest.approx(1 / 2)
    assert scores["credited_macro_f1_union"] == pytest.approx(1 / 3)


def test_validation_reads_types_as_the_loss_says():
    for name, expected in (("leaf", 1.0), ("ce", 0.0)):
        loss = build_loss(name, R, torch.ones(4))
        model = Fixed(9.0, 5.0, 0.0, 0.0)
        scores = validate(model, loss, OneBatch(1), Judge.of(None, loss), ALONE)
        assert scores["credited_macro_f1"] == expected


def two_studies() -> Targets:
    """Targets 0 and 1: labels 0 and 1 of a study that uses both; 2: label 0 of another."""
    answers = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0]], dtype=bool)
    return Targets([], np.empty((0, 4), np.int32), np.array([0, 1, 0]), answers)


@pytest.mark.parametrize("name", ["hce", "hce_study"])
def test_answers_that_a_study_labels_itself_are_not_right_by_the_study_aware_score(name):
    loss = build_loss(name, R, torch.ones(4))
    targets = two_studies()
    if loss.by_study:
        loss.take_targets(torch.from_numpy(targets.labels), torch.from_numpy(targets.answers))
    model, cells = Fixed(0.0, 5.0, 0.0, 0.0), OneBatch(0, 1, 2, 2)
    scores = validate(model, loss, cells, Judge.of(targets, loss), ALONE)
    # Label 0: two of three right, one read as 1. Label 1: right, and one more than there are.
    assert scores["study_aware_macro_f1"] == pytest.approx((2 * 2 / 5 + 2 / 3) / 2)
    assert scores["credited_macro_f1"] == 1.0
    p = model.logits.softmax(1)[0]
    # HCE is scored on the credited answer, as published; a loss by study on its targets.
    terms = [p[1]] * 4 if name == "hce" else [p[0], p[1], p[0] + p[1], p[0] + p[1]]
    wanted = np.mean([-np.log(float(term) + 1e-6) for term in terms])
    assert scores["loss"] == pytest.approx(wanted, rel=1e-5)
