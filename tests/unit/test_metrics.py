"""Metrics against scikit-learn on labels that are credited one by one."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from hce.metrics import (
    accuracy,
    confusion,
    credit,
    distances,
    hierarchical_scores,
    macro_f1,
    macro_precision_recall,
    shape_of_errors,
    type_scores,
    weighted_f1,
)
from random_dags import credit_one_by_one, dags_with_predictions


@settings(max_examples=150, deadline=None)
@given(dags_with_predictions())
def test_credited_and_exact_scores_equal_sklearn_on_explicitly_credited_labels(case):
    reachability, labels, predictions = case
    n = len(reachability)
    counts = confusion(labels, predictions, n)[0]
    present = np.unique(labels)
    for table, predicted in (
        (counts, predictions),
        (
            credit(counts, reachability),
            credit_one_by_one(labels, predictions, reachability),
        ),
    ):
        scores = type_scores(table)
        expected = precision_recall_fscore_support(
            labels, predicted, labels=range(n), zero_division=0
        )
        for found, wanted in zip(
            (scores.precision, scores.recall, scores.f1), expected, strict=False
        ):
            np.testing.assert_allclose(found[present], wanted[present], rtol=0, atol=1e-12)
            assert np.isnan(np.delete(found, present)).all()
        np.testing.assert_array_equal(scores.cells, expected[3])
        macro = f1_score(labels, predicted, labels=present, average="macro", zero_division=0)
        assert macro_f1(table) == pytest.approx(macro, abs=1e-12, rel=0)
        # Over the union of labels and predictions, as sklearn takes it by itself.
        union = f1_score(labels, predicted, average="macro", zero_division=0)
        assert macro_f1(table, absent="zero") == pytest.approx(union, abs=1e-12, rel=0)
        means = [expected[0][present].mean(), expected[1][present].mean()]
        assert macro_precision_recall(table) == pytest.approx(means, abs=1e-12)
        assert accuracy(table) == pytest.approx(accuracy_score(labels, predicted), abs=1e-12)
        # Every cell has one label and one prediction, so that micro F1 is accuracy.
        micro = f1_score(labels, predicted, labels=range(n), average="micro", zero_division=0)
        assert accuracy(table) == pytest.approx(micro, abs=1e-12)
        weighted = f1_score(labels, predicted, average="weighted", zero_division=0)
        assert weighted_f1(table) == pytest.approx(weighted, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(dags_with_predictions())
def test_hierarchical_scores_are_sklearns_micro_scores_of_the_extended_labels(case):
    reachability, labels, predictions = case
    # Row by row the type and its ancestors, as a multilabel problem.
    extended = precision_recall_fscore_support(
        reachability.T[labels], reachability.T[predictions], average="micro", zero_division=0
    )
    found = hierarchical_scores(confusion(labels, predictions, len(reachability))[0], reachability)
    assert list(found.values()) == pytest.approx(extended[:3], abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(dags_with_predictions())
def test_shapes_of_errors_equal_those_of_the_cells_one_by_one(case):
    reachability, labels, predictions = case
    counts = confusion(labels, predictions, len(reachability))[0]
    found = shape_of_errors(counts, reachability, distances(reachability))
    pairs = list(zip(labels, predictions, strict=True))
    graph = nx.transitive_reduction(
        nx.from_numpy_array(
            reachability & ~np.eye(len(reachability), dtype=bool), create_using=nx.DiGraph
        )
    )
    graph.add_edges_from([("root", node) for node in list(graph) if graph.in_degree(node) == 0])
    ways = dict(nx.all_pairs_shortest_path_length(graph.to_undirected()))
    lengths = [ways[a][b] for a, b in pairs if not reachability[a, b]]
    if lengths:
        assert found["ontology_distance"] == pytest.approx(np.mean(lengths))
    else:
        assert np.isnan(found["ontology_distance"])
    leaves = [reachability[b].sum() == 1 for _, b in pairs]
    assert found["leaf_share"] == pytest.approx(np.mean(leaves))
    below = [bool(reachability[a, b]) and a != b for a, b in pairs]
    assert found["over_specific_share"] == pytest.approx(np.mean(below))


def test_a_predicted_type_without_cells_counts_as_zero_or_not_at_all():
    counts = confusion(np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1]), 4)[0]
    f1 = [2 / 3, 1.0]  # type 2 is predicted and has no cells, type 3 is neither
    assert macro_f1(counts) == pytest.approx(sum(f1) / 2)
    assert macro_f1(counts, absent="zero") == pytest.approx(sum(f1) / 3)
    some = np.array([True, False, True, True])
    assert macro_f1(counts, some, absent="zero") == pytest.approx(f1[0] / 2)
    with pytest.raises(ValueError, match="absent is 'drop': choose from skip, zero"):
        macro_f1(counts, absent="drop")
    assert np.isnan(macro_precision_recall(np.zeros((2, 2), dtype=int))).all()


def test_distances_in_the_papers_hierarchy_count_is_a_edges(hierarchy):
    ways = distances(hierarchy.reachability)
    for parent, child in hierarchy.edges:
        assert ways[parent, child] == ways[child, parent] == 1
    # Two types without any relation meet in the root above all.
    alone = np.flatnonzero(~hierarchy.types["connected"])[:2]
    assert ways[alone[0], alone[1]] == 2
    assert (np.diag(ways) == 0).all()
    assert (ways[~np.eye(164, dtype=bool)] >= 1).all()


@settings(max_examples=50, deadline=None)
@given(dags_with_predictions(), st.integers(0, 2**32 - 1))
def test_a_stratum_scores_as_if_its_cells_were_alone(case, seed):
    reachability, labels, predictions = case
    n = len(reachability)
    strata = np.random.default_rng(seed).integers(0, 3, len(labels))
    counts = credit(confusion(labels, predictions, n, strata, 3), reachability)
    for stratum in range(3):
        own = strata == stratum
        alone = credit(confusion(labels[own], predictions[own], n)[0], reachability)
        np.testing.assert_array_equal(counts[stratum], alone)
        np.testing.assert_array_equal(macro_f1(counts)[stratum], macro_f1(alone))
        np.testing.assert_array_equal(accuracy(counts)[stratum], accuracy(alone))


@settings(max_examples=100, deadline=None)
@given(dags_with_predictions(), st.integers(0, 2**32 - 1))
def test_crediting_more_answers_lowers_no_score(case, seed):
    reachability, labels, predictions = case
    n = len(reachability)
    some = reachability & np.random.default_rng(seed).integers(0, 2, (n, n)).astype(bool)
    exact = confusion(labels, predictions, n)[0]
    fewer, more = credit(exact, some | np.eye(n, dtype=bool)), credit(exact, reachability)
    for one, other in ((exact, fewer), (fewer, more)):
        before, after = type_scores(one), type_scores(other)
        present = before.cells > 0
        for name in ("precision", "recall", "f1"):
            assert (getattr(after, name) >= getattr(before, name) - 1e-12)[present].all()
        for score in (macro_f1, accuracy, weighted_f1):
            assert score(other) >= score(one) - 1e-12


@settings(max_examples=50, deadline=None)
@given(dags_with_predictions())
def test_going_down_from_a_credited_prediction_never_loses_credit(case):
    reachability, labels, predictions = case
    n = len(reachability)
    below = np.array([np.flatnonzero(reachability[p])[-1] for p in predictions])
    before = accuracy(credit(confusion(labels, predictions, n)[0], reachability))
    after = accuracy(credit(confusion(labels, below, n)[0], reachability))
    assert after >= before


def test_a_prediction_above_the_label_is_an_error():
    reachability = np.array([[True, True], [False, True]])
    counts = credit(confusion(np.array([1]), np.array([0]), 2)[0], reachability)
    assert accuracy(counts) == 0.0
    counts = credit(confusion(np.array([0]), np.array([1]), 2)[0], reachability)
    assert accuracy(counts) == 1.0


def test_macro_f1_among_types_still_counts_errors_on_the_other_types():
    labels = np.array([0, 0, 1, 1])
    predictions = np.array([0, 0, 0, 1])
    counts = confusion(labels, predictions, 3)[0]
    assert macro_f1(counts, np.array([True, False, True])) == pytest.approx(2 * 2 / (2 * 2 + 1))


def test_scores_without_cells_are_missing():
    empty = np.zeros((3, 3), dtype=np.int64)
    assert np.isnan(weighted_f1(empty))
    alone = np.eye(3, dtype=bool)
    assert np.isnan(list(hierarchical_scores(empty, alone).values())).all()
    assert np.isnan(list(shape_of_errors(empty, alone, distances(alone)).values())).all()
    assert np.isnan(macro_f1(empty))
    assert np.isnan(accuracy(empty))


@pytest.mark.parametrize("value", [-1, 3])
def test_counting_refuses_what_is_no_type(value):
    with pytest.raises(ValueError, match="a prediction lies outside 0 to 2"):
        confusion(np.array([0]), np.array([value]), 3)
