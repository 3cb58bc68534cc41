"""Answers against the finest types of the cells, checked cell by cell on sets of ancestors."""

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hce.errors import UserError
from hce.evaluation.truth import compare, rank_agreement, score_truth
from hce.ontology import Hierarchy, Ontology

DECODERS = ["argmax", "back_off_0.9"]


def ontology_of(edges, n):
    names = {f"T:{i}": f"type {i}" for i in range(n)}
    is_a = nx.DiGraph()
    is_a.add_nodes_from(names)
    is_a.add_edges_from((f"T:{child}", f"T:{parent}") for child, parent in edges)
    return Ontology("test", names, is_a)


# 0 is the root; 1 and 2 are below it, 3 below both, 4 below 1; the types are 1, 2 and 3.
ONTOLOGY = ontology_of([(1, 0), (2, 0), (3, 1), (3, 2), (4, 1)], 5)
TYPES = Hierarchy.build({f"T:{i}": f"type {i}" for i in (1, 2, 3)}, ONTOLOGY)


@pytest.mark.parametrize(
    ("truth", "answer", "f1", "wrong", "depth"),
    [
        ("T:3", 2, 1.0, 0, 3),  # the type itself, with its three ancestors
        ("T:3", 0, 2 * 2 / (2 + 4), 0, 1),  # above it
        ("T:1", 2, 2 * 2 / (2 + 4), 1, None),  # below it: more than the cell is
        ("T:2", 0, 2 * 1 / (2 + 2), 1, None),  # beside it: the root in common
        ("T:4", 0, 2 * 2 / (2 + 3), 0, 1),  # a finest type that is none of the run's
        ("T:4", 2, 2 * 2 / (4 + 3), 1, None),
    ],
)
def test_one_answer_is_judged_by_its_and_the_truths_ancestors(truth, answer, f1, wrong, depth):
    counts = np.zeros((1, 3), dtype=int)
    counts[0, answer] = 7
    scores = compare(counts, [truth], TYPES, ONTOLOGY)
    assert scores["truth_hierarchical_f1"] == pytest.approx(f1)
    assert scores["truth_wrong_share"] == pytest.approx(wrong)
    assert np.isnan(scores["truth_right_depth"]) if depth is None else True
    assert depth is None or scores["truth_right_depth"] == pytest.approx(depth)


@st.composite
def answered_dags(draw):
    n = draw(st.integers(2, 8))
    pairs = [(child, parent) for child in range(n) for parent in range(child)]
    edges = draw(st.sets(st.sampled_from(pairs)))
    types = sorted(draw(st.sets(st.integers(0, n - 1), min_size=1)))
    cell = st.tuples(st.integers(0, n - 1), st.integers(0, len(types) - 1))
    return n, edges, types, draw(st.lists(cell, min_size=1, max_size=20))


@settings(max_examples=60, deadline=None)
@given(answered_dags())
def test_scores_are_means_over_single_cells(case):
    n, edges, types, cells = case
    ontology = ontology_of(edges, n)
    hierarchy = Hierarchy.build({f"T:{i}": f"type {i}" for i in types}, ontology)
    family = {f"T:{i}": {f"T:{i}", *ontology.ancestors(f"T:{i}")} for i in range(n)}
    counts = np.zeros((n, len(types)), dtype=int)
    f1, wrong, depths = [], [], []
    for truth, answer in cells:
        counts[truth, answer] += 1
        true, chosen = f"T:{truth}", hierarchy.types["cl_id"][answer]
        common = len(family[true] & family[chosen])
        f1.append(2 * common / (len(family[true]) + len(family[chosen])))
        right = chosen in family[true]
        wrong.append(not right)
        if right:
            depths.append(len(ontology.ancestors(chosen)))
    scores = compare(counts, [f"T:{i}" for i in range(n)], hierarchy, ontology)
    assert scores["truth_hierarchical_f1"] == pytest.approx(np.mean(f1))
    assert scores["truth_wrong_share"] == pytest.approx(np.mean(wrong))
    if depths:
        assert scores["truth_right_depth"] == pytest.approx(np.mean(depths))
    else:
        assert np.isnan(scores["truth_right_depth"])


@pytest.fixture
def files(tmp_path):
    """Predictions of two cells by two decoders, and the truth of these and of a third cell."""
    table = pd.DataFrame({"soma_joinid": [7, 2]})
    table["prediction_argmax"], table["prediction_back_off_0.9"] = [2, 2], [0, 0]
    table.to_parquet(tmp_path / "id.parquet")
    truth = pd.DataFrame({"soma_joinid": [2, 3, 7], "cl_id": ["T:1", "T:2", "T:3"]})
    truth.to_parquet(tmp_path / "truth.parquet")
    return tmp_path


def scored(files):
    paths = [files / "id.parquet"], ["id"], [files / "truth.parquet"]
    return score_truth(*paths, DECODERS, TYPES, ONTOLOGY)


def test_cells_are_found_by_their_joinid_whatever_the_order(files):
    table = scored(files).set_index(["decoder", "score"])["value"]
    assert table["argmax", "truth_wrong_share"] == pytest.approx(0.5)
    assert table["argmax", "truth_right_depth"] == pytest.approx(3)
    assert table["back_off_0.9", "truth_wrong_share"] == pytest.approx(0)
    assert table["back_off_0.9", "truth_right_depth"] == pytest.approx(1)


def test_a_cell_without_truth_is_said(files):
    pd.DataFrame({"soma_joinid": [2], "cl_id": ["T:1"]}).to_parquet(files / "truth.parquet")
    with pytest.raises(UserError, match=r"truth\.parquet lacks 1 cells of .*id\.parquet"):
        scored(files)


def tables(credited, truth):
    """Scores of as many decoders as values, each with two seeds that differ."""
    parts = []
    for score, values in (("credited_macro_f1", credited), ("truth_hierarchical_f1", truth)):
        rows = [
            ("linear", "ce", seed, "ood", f"decoder {i}", score, value + (seed - 0.5) * 0.1)
            for i, value in enumerate(values)
            for seed in (0, 1)
        ]
        columns = ["model", "loss", "seed", "set", "decoder", "score", "value"]
        parts.append(pd.DataFrame(rows, columns=columns))
    return parts


@pytest.mark.parametrize(
    ("credited", "truth", "rho"),
    [
        ([0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.9], 1.0),
        ([0.4, 0.3, 0.2, 0.1], [0.5, 0.6, 0.7, 0.9], -1.0),
        ([0.1, 0.2, 0.3], [0.5, 0.6, 0.9], 1.0),
        ([0.1, 0.2], [0.5, 0.6], np.nan),
        ([0.1, 0.1, 0.1], [0.5, 0.6, 0.7], np.nan),
    ],
)
def test_a_score_agrees_with_the_truth_as_far_as_it_ranks_alike(credited, truth, rho):
    overall, by_truth = tables(credited, truth)
    found = rank_agreement(by_truth, overall, ["credited_macro_f1", "study_aware_macro_f1"])
    assert found["score"].tolist() == ["credited_macro_f1"]  # the run has no other
    assert found["pairs"].tolist() == [len(truth)]
    assert found["rho"].to_numpy() == pytest.approx([rho], nan_ok=True)
