"""Calibration of the back-off: the requested precision is reached, or no threshold is given."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from annotators import LABELS, R, annotator, make_cells
from hce.annotate.calibration import (
    ASKED,
    ERROR,
    MIN_CELLS,
    THRESHOLDS,
    Outcomes,
    calibrate,
    count_outcomes,
    curve,
    donors_of,
    kept,
    lower_bound,
    tables,
)
from hce.annotate.run import counts_of
from hce.errors import UserError
from hce.store.cell_store import write_store
from hce.store.shards import write_shard

__all__ = ["annotator"]


def outcomes(right: np.ndarray, decided: np.ndarray, cells: int) -> Outcomes:
    """Outcomes (T, G) of one type."""
    zero = np.zeros((len(decided), 1), dtype=np.int64)
    sums = [table.sum(axis=1, keepdims=True) for table in (decided, right)]
    thresholds = np.linspace(0.1, 0.9, len(decided))
    return Outcomes(thresholds, cells, sums[0], sums[1], zero, decided, right)


def test_outcomes_are_those_of_a_reading_cell_by_cell(annotator, tmp_path):
    cells = make_cells(80, seed=3)
    counts = counts_of(cells.X, np.arange(40))
    rng = np.random.default_rng(1)
    ids = np.arange(80, dtype=np.int64)
    write_shard(tmp_path / "0.arrow", [(ids, counts)])
    table = pd.DataFrame(
        {
            "soma_joinid": ids,
            "label": rng.integers(0, 4, 80).astype(np.int16),
            "study": [f"s{i // 40}" for i in ids],
            "donor": [f"d{i % 3}" for i in ids],
        }
    )
    store = write_store(
        tmp_path / "store", [tmp_path / "0.arrow"], table, annotator.trained.genes, {}
    )
    groups = donors_of(table)
    assert len(set(groups)) == 6
    thresholds = np.array([0.3, 0.6, 0.9])
    found = count_outcomes(annotator.trained, store, groups, 16, torch.device("cpu"), thresholds)
    x = cells.X.toarray().astype(np.float64)
    logits = np.log1p(x / x.sum(axis=1, keepdims=True) * 1e4) @ np.kron(
        np.eye(4), np.full((10, 1), 0.2)
    )
    p = np.exp(logits)
    s = p / p.sum(axis=1, keepdims=True) @ R.T
    expected = {name: np.zeros((3, 4), int) for name in ("reported", "right", "undecided")}
    decided = np.zeros((3, 6), int)
    for t, threshold in enumerate(thresholds):
        for cell, label in enumerate(table["label"]):
            passing = np.flatnonzero(s[cell] >= threshold)
            if not len(passing):
                continue
            chosen = min(passing, key=lambda i: (R[i].sum(), -s[cell, i]))
            above = R[label, chosen] and label != chosen
            expected["reported"][t, chosen] += 1
            expected["right"][t, chosen] += R[chosen, label]
            expected["undecided"][t, chosen] += above
            decided[t, groups[cell]] += not above
    for name, counts_expected in expected.items():
        np.testing.assert_array_equal(getattr(found, name), counts_expected)
    np.testing.assert_array_equal(found.decided_of, decided)
    np.testing.assert_array_equal(found.right_of.sum(1), expected["right"].sum(1))

    table = curve(found, R)
    reported = expected["reported"].sum(1)
    np.testing.assert_allclose(table["coverage"], reported / 80)
    np.testing.assert_allclose(table["right"], expected["right"].sum(1) / decided.sum(1))
    made = tables({"val": found}, calibrate(found, True), annotator.trained)
    assert list(made) == ["coverage", "calibrated_precision", "calibrated_precision_types"]
    assert made["calibrated_precision"]["asked"].tolist() == list(ASKED)
    assert set(made["calibrated_precision_types"]["type"]) <= set(LABELS)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=8),
    st.booleans(),
)
def test_the_bound_is_below_the_share_and_that_of_clopper_and_pearson(groups, by_donor):
    right = np.array([min(a, b) for a, b in groups])
    decided = np.array([max(a, b) for a, b in groups])
    bound = lower_bound(right, decided, by_donor)
    k, n = int(right.sum()), int(decided.sum())
    assert bound <= (k / n if n else 0) + 1e-12
    if k and not by_donor:
        # The probability of so many right ones, were the bound true, is the error.
        assert stats.binom.sf(k - 1, n, bound) == pytest.approx(ERROR)
    if by_donor:
        assert bound <= lower_bound(right, decided, False)


def test_donors_that_differ_lower_the_bound_and_one_donor_gives_none():
    decided = np.full(10, 100)
    alike, apart = np.full(10, 90), np.array([100] * 5 + [80] * 5)
    assert lower_bound(apart, decided, True) < lower_bound(alike, decided, True)
    assert lower_bound(np.array([99]), np.array([100]), True) == 0


def test_thresholds_are_lowered_only_while_the_bound_reaches_the_requested_precision():
    decided = np.full((5, 1), 1000)
    right = np.array([[990], [850], [960], [980], [999]])  # the loosest is right again by chance
    calibrated = calibrate(outcomes(right, decided, 1000), False, (0.8, 0.94, 0.9999))
    assert calibrated["threshold"].tolist()[:2] == [0.1, 0.5]
    assert np.isnan(calibrated["threshold"].iloc[2])
    assert calibrated["right"].iloc[1] == 0.96


def test_thresholds_that_report_too_few_cells_do_not_end_the_search():
    few = MIN_CELLS - 1
    decided, right = np.array([[5000], [2000], [few]]), np.array([[4900], [1980], [few - 9]])
    calibrated = calibrate(outcomes(right, decided, 5000), False, (0.9,))
    assert calibrated["threshold"].tolist() == [0.1]


def test_the_asked_probability_is_missed_by_no_more_than_the_error():
    rng = np.random.default_rng(0)
    true = np.linspace(0.80, 0.99, 20)  # of being right, at each threshold
    reported = np.linspace(1.0, 0.3, 20)
    missed = trials = 0
    for _ in range(400):
        decided = np.round(600 * reported).astype(int)[:, None]
        # Nested: the cells of a stricter threshold are among those of a looser one.
        draws = rng.random(600)
        share = [(draws[:n] < chance).sum() for (n,), chance in zip(decided, true, strict=True)]
        right = np.array(share)[:, None]
        calibrated = calibrate(outcomes(right, decided, 600), False, (0.9,))
        if calibrated["threshold"].notna().all():
            trials += 1
            t = np.argmin(np.abs(np.linspace(0.1, 0.9, 20) - calibrated["threshold"].iloc[0]))
            missed += true[t] < 0.9
    assert trials > 300
    assert missed / 400 <= ERROR + 2.5 * np.sqrt(ERROR * (1 - ERROR) / 400)


def test_no_threshold_is_given_if_nothing_is_right(annotator):
    none = outcomes(np.zeros((3, 2), int), np.full((3, 2), 100), 200)
    calibrated = calibrate(none, True)
    assert calibrated["threshold"].isna().all()
    of_set = curve(none, np.eye(1, dtype=bool))
    assert kept(of_set, calibrated)["right"].isna().all()
    broken = annotator.__class__(annotator.trained, calibrated, annotator.scores)
    with pytest.raises(UserError, match="its calibration allows none"):
        broken.threshold(0.5)


def test_between_calibrated_probabilities_the_larger_one_is_taken(annotator):
    assert annotator.threshold(0.5) == 0.3
    assert annotator.threshold(0.6) == annotator.threshold(0.9) == 0.8
    assert (np.diff(THRESHOLDS) > 0).all()
