"""Calibration of the back-off: the requested precision is reached, or no threshold is given."""

from dataclasses import replace

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
    CELLS,
    CURVE,
    DONORS,
    ERROR,
    MIN_CELLS,
    MIN_STUDIES,
    NEW,
    STUDIES,
    bound_over_studies,
    calibrate,
    choose,
    curve,
    indistinct,
    lower_bound,
    new_studies,
    positions,
    reliability,
    tables,
)
from hce.annotate.outcomes import THRESHOLDS, Outcomes, count_outcomes, donors_of
from hce.annotate.run import counts_of
from hce.errors import UserError
from hce.ontology.targets import Targets
from hce.ontology.terms import Terms
from hce.store.cell_store import write_store
from hce.store.shards import write_shard

__all__ = ["annotator"]


def outcomes(right: np.ndarray, decided: np.ndarray, cells: int) -> Outcomes:
    """Outcomes (T, G) of one type, none of them undecided."""
    zero = np.zeros((len(decided), 1), dtype=np.int64)
    sums = [table.sum(axis=1, keepdims=True) for table in (decided, right)]
    thresholds = np.linspace(0.1, 0.9, len(decided))
    groups = decided.shape[1]
    cells_of = np.full(groups, cells // groups)
    none = np.zeros_like(decided)
    return Outcomes(thresholds, cells_of, *sums, zero, decided, right, none, decided, decided)


def lymphocytes() -> Terms:
    """The four types of the annotator and two terms above them: mononuclear cell, mature T cell."""
    reach = np.eye(6, dtype=bool)
    reach[:4, :4] = R
    reach[4, [0, 1, 2, 3]] = True
    reach[5, 2] = reach[0, 5] = reach[1, 5] = reach[4, 5] = True
    table = pd.DataFrame(
        {
            "cl_id": [f"CL:{i:07d}" for i in range(6)],
            "label": [*LABELS, "mononuclear cell", "mature T cell"],
            "depth": [11, 12, 16, 15, 10, 13],
        }
    )
    return Terms(table, reach, 4)


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
    thresholds, terms = np.array([0.3, 0.6, 0.9]), lymphocytes()
    # Study s1 labels CD4 T cells: its cells with a label above are none.
    contradicted = {(0, 2), (0, 5), (1, 2)}
    own = table["label"].to_numpy() + 4 * (ids >= 40)
    answers = np.concatenate([terms.reachability[:4]] * 2)
    for label, answer in contradicted:
        answers[4 + label, answer] = False
    numbers = np.arange(8).reshape(2, 4).astype(np.int32)
    targets = Targets([("r", "s0"), ("r", "s1")], numbers, np.arange(8) % 4, answers)
    found = count_outcomes(
        *(annotator.trained, terms, store, targets, own.astype(np.int64), groups, 16),
        torch.device("cpu"),
        thresholds,
    )
    x = cells.X.toarray().astype(np.float64)
    logits = np.log1p(x / x.sum(axis=1, keepdims=True) * 1e4) @ np.kron(
        np.eye(4), np.full((10, 1), 0.2)
    )
    p = np.exp(logits)
    members = terms.reachability[:, :4]
    s = p / p.sum(axis=1, keepdims=True) @ members.T
    by_term = {name: np.zeros((3, 6), int) for name in ("reported", "right", "undecided")}
    by_group = {name: np.zeros((3, 6), int) for name in ("right_of", "decided_of", "depth_of")}
    for t, threshold in enumerate(thresholds):
        for cell, label in enumerate(table["label"]):
            passing = np.flatnonzero(s[cell] >= threshold)
            if not len(passing):
                continue
            chosen = min(passing, key=lambda i: (members[i].sum(), -s[cell, i]))
            right = members[chosen, label]
            under = terms.reachability[label, chosen] and not right
            undecided = under and not (cell >= 40 and (label, chosen) in contradicted)
            by_term["reported"][t, chosen] += 1
            by_term["right"][t, chosen] += right
            by_term["undecided"][t, chosen] += undecided
            by_group["right_of"][t, groups[cell]] += right
            by_group["decided_of"][t, groups[cell]] += not undecided
            by_group["depth_of"][t, groups[cell]] += terms.table["depth"][chosen]
    for name, expected in {**by_term, **by_group}.items():
        np.testing.assert_array_equal(getattr(found, name), expected, err_msg=name)
    assert by_term["undecided"].sum() > 0
    less = count_outcomes(
        *(annotator.trained, replace(terms, withheld=(2,)), store, targets),
        *(own.astype(np.int64), groups, 16, torch.device("cpu"), thresholds),
    )
    assert found.reported[:, 2].all()
    assert not less.reported[:, 2].any()

    of_set = curve(found)
    assert list(of_set) == CURVE
    reported = by_term["reported"].sum(1)
    np.testing.assert_allclose(of_set["coverage"], reported / 80)
    np.testing.assert_allclose(
        of_set["right"], by_group["right_of"].sum(1) / by_group["decided_of"].sum(1)
    )
    np.testing.assert_allclose(of_set["depth"], by_group["depth_of"].sum(1) / reported)
    calibrated = calibrate(found, found, True)
    made = tables({"val": found, "ood": found}, {"ood": list("abcd")}, calibrated, terms.labels)
    assert made["calibrated_precision"]["asked"].tolist() == list(ASKED) * 2
    assert set(made["calibrated_precision_types"]["type"]) <= set(terms.labels)
    assert set(made["reliability"]["set"]) <= {"val", NEW}


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
    calibrated = calibrate(outcomes(right, decided, 1000), None, False, (0.8, 0.94, 0.9999))
    assert calibrated["threshold"].tolist()[:2] == [0.1, 0.5]
    assert np.isnan(calibrated["threshold"].iloc[2])
    assert set(calibrated["basis"]) == {CELLS}


def test_thresholds_that_report_too_few_cells_do_not_end_the_search():
    few = MIN_CELLS - 1
    decided, right = np.array([[5000], [2000], [few]]), np.array([[4900], [1980], [few - 9]])
    calibrated = calibrate(outcomes(right, decided, 5000), None, False, (0.9,))
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
        calibrated = calibrate(outcomes(right, decided, 600), None, False, (0.9,))
        if calibrated["threshold"].notna().all():
            trials += 1
            t = np.argmin(np.abs(np.linspace(0.1, 0.9, 20) - calibrated["threshold"].iloc[0]))
            missed += true[t] < 0.9
    assert trials > 300
    assert missed / 400 <= ERROR + 2.5 * np.sqrt(ERROR * (1 - ERROR) / 400)


RAISED = np.linspace(1, 0.1, 4)


def of_studies(shares: np.ndarray) -> Outcomes:
    """Studies whose answers become surer with the threshold; shares (G,) at the loosest."""
    raised = 1 - np.outer(RAISED, 1 - shares)
    decided = np.full(raised.shape, 1000)
    return outcomes(np.round(1000 * raised).astype(int), decided, 1000 * len(shares))


def test_enough_new_studies_calibrate_and_too_few_leave_it_to_donors():
    donors = of_studies(np.full(20, 0.97))
    shares = np.array([0.5, 0.7, 0.6, 0.9, 0.8, 0.75])
    enough = calibrate(donors, of_studies(shares), True, (0.9,)).iloc[0]
    assert (enough["basis"], enough["units"]) == (STUDIES, 6)
    assert enough["threshold"] == 0.9
    for few in (None, of_studies(shares[: MIN_STUDIES - 1])):
        fallback = calibrate(donors, few, True, (0.9,)).iloc[0]
        assert (fallback["basis"], fallback["units"]) == (DONORS, 20)
        assert fallback["threshold"] == 0.1
        assert calibrate(donors, few, False, (0.9,)).iloc[0]["basis"] == CELLS


def test_the_bound_over_studies_is_that_of_student_and_counts_each_study_once():
    right, decided = np.array([90, 8, 700, 0]), np.array([100, 10, 1000, 0])
    shares = [0.9, 0.8, 0.7]
    expected = stats.ttest_1samp(shares, 0).confidence_interval(0.90).low
    assert bound_over_studies(right, decided) == pytest.approx(expected)
    assert bound_over_studies(right[:1], decided[:1]) == 0


def test_what_is_reported_of_a_study_was_not_chosen_with_it():
    shares = np.array([0.90, 0.97, 0.98, 0.97, 0.98, 0.10])
    new = of_studies(shares)
    calibrated = calibrate(new, new, True, (0.9,))
    at = positions(calibrated, new, is_new=True)[0]
    for study in range(len(shares)):
        others = of_studies(np.delete(shares, study))
        assert at[study] == choose(others, 0.9, STUDIES)[0]
    assert at[5] == 0  # without the bad study everything seems fine
    row = reliability({}, calibrated.assign(threshold=0.9), new).iloc[0]
    assert (row["set"], row["studies"]) == (NEW, 6)
    got = [new.right_of[at[i], i] / 1000 for i in range(6) if at[i] >= 0]
    assert row["right"] == pytest.approx(np.mean(got))


def test_the_mean_of_new_studies_reaches_what_is_asked_but_for_the_error():
    rng = np.random.default_rng(3)
    missed = trials = 0
    for _ in range(300):
        true = rng.beta(12, 3, 8)  # of a study at the loosest threshold; 0.8 on average
        t, _ = choose(of_studies(np.round(true, 3)), 0.9, STUDIES)
        if t >= 0:
            trials += 1
            missed += 1 - RAISED[t] * (1 - 0.8) < 0.9
    assert trials > 200
    assert missed / 300 <= ERROR + 2.5 * np.sqrt(ERROR * (1 - ERROR) / 300)


def test_terms_that_are_more_often_wrong_than_right_are_found_and_rare_ones_are_not_judged():
    right, decided = np.array([[0, 30, 45, 2, 0]]), np.array([[40, 100, 100, 5, 1]])
    zero = np.zeros_like(right)
    found = Outcomes(
        *(np.array([0.5]), np.array([300]), decided + 7, right, zero + 7),
        *(zero, zero, zero, zero, zero),
    )
    assert indistinct(found) == (0, 1)
    upper = [stats.beta.ppf(1 - ERROR, k + 1, n - k) for k, n in ((30, 100), (45, 100), (2, 5))]
    assert [bound < 0.5 for bound in upper] == [True, False, False]


def test_no_threshold_is_given_if_nothing_is_right(annotator):
    none = outcomes(np.zeros((3, 2), int), np.full((3, 2), 100), 200)
    calibrated = calibrate(none, None, True)
    assert calibrated["threshold"].isna().all()
    made = tables({"val": none}, {}, calibrated, ["T cell"])
    assert made["calibrated_precision"]["right"].isna().all()
    assert made["reliability"].empty
    broken = annotator.__class__(annotator.trained, calibrated, annotator.scores)
    with pytest.raises(UserError, match="its calibration allows none"):
        broken.threshold(0.5)


def test_between_calibrated_probabilities_the_larger_one_is_taken(annotator):
    assert annotator.threshold(0.5) == 0.3
    assert annotator.threshold(0.6) == annotator.threshold(0.9) == 0.8
    assert (np.diff(THRESHOLDS) > 0).all()


def test_what_is_promised_is_said_in_words(annotator):
    text = annotator.promise(0.9)
    assert "calibrated to 0.9 on 8 new studies. On 8 new studies, 90% of the cells got" in text
    assert "93% of the decided answers were right" in text
    table = annotator.calibrated_precision.assign(basis="donors", units=40)
    few = annotator.__class__(annotator.trained, table, annotator.scores).promise(0.9)
    assert "on 40 donors; there are too few new studies to promise it for others" in few


def test_a_study_that_two_sets_have_counts_once():
    shares = np.array([0.90, 0.97, 0.98, 0.97, 0.98, 0.96])
    first, second = of_studies(shares[:4]), of_studies(shares)
    studies = {"ood": list("abcd"), "ood_later": list("cabdef")}
    found, where = new_studies({"ood": first, "ood_later": second}, studies)
    assert found.cells_of.tolist() == [1000] * 6
    assert found.right_of[0].tolist() == [*first.right_of[0], *second.right_of[0, 4:]]
    assert where["ood"].tolist() == [0, 1, 2, 3]
    assert where["ood_later"].tolist() == [2, 0, 1, 3, 4, 5]
    assert calibrate(first, found, True, (0.9,)).iloc[0]["units"] == 6
    assert new_studies({"val": first}, {}) == (None, {})


def test_a_precision_stands_on_at_least_as_many_studies_as_are_needed():
    """Two studies are always right at the strictest threshold, where the others say nothing."""
    decided = np.array([[1000] * 20, [1000, 1000] + [0] * 18])
    right = np.array([[700] * 20, [1000, 1000] + [0] * 18])
    row = calibrate(
        outcomes(right, decided, 20_000), outcomes(right, decided, 20_000), True, (0.9,)
    )
    assert np.isnan(row["threshold"].iloc[0])
    decided[1, 2:8] = right[1, 2:8] = 500
    row = calibrate(
        outcomes(right, decided, 20_000), outcomes(right, decided, 20_000), True, (0.9,)
    )
    assert (row["threshold"].iloc[0], row["units"].iloc[0]) == (0.9, 8)
