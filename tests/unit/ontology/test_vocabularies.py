"""Restricted reachability against its definition, on random DAGs with several parents."""

import networkx as nx
import numpy as np
import pandas as pd
from hypothesis import given, settings

from hce.ontology import Hierarchy, Ontology
from hce.ontology.vocabularies import (
    ALL_CELLS,
    KEPT_CELLS,
    describe,
    make_table,
    of_collections,
    relate,
    restrict,
)
from random_dags import dags_with_studies


def restricted_one_by_one(
    ontology: Ontology, hierarchy: Hierarchy, vocabulary: list[str]
) -> np.ndarray:
    """R_k from the definition, term by term."""
    below = {term: nx.ancestors(ontology.is_a, term) for term in ontology.names}  # edges go up
    types = hierarchy.types["cl_id"].tolist()
    found = np.zeros((len(types), len(types)), dtype=bool)
    for i, a in enumerate(types):
        for j, answer in enumerate(types):
            finer = [b for b in vocabulary if b in below[a] and answer in below[b] | {b}]
            found[i, j] = answer in below[a] | {a} and not finer
    return found


def restricted(ontology: Ontology, hierarchy: Hierarchy, vocabulary: list[str]) -> np.ndarray:
    return restrict(hierarchy.reachability, *relate(vocabulary, hierarchy, ontology))


@settings(max_examples=200, deadline=None)
@given(dags_with_studies())
def test_restricted_reachability_is_as_defined(case):
    ontology, hierarchy, studies = case
    for vocabulary in studies.values():
        np.testing.assert_array_equal(
            restricted(ontology, hierarchy, vocabulary),
            restricted_one_by_one(ontology, hierarchy, vocabulary),
        )


@settings(max_examples=200, deadline=None)
@given(dags_with_studies())
def test_restricting_takes_pairs_away_never_the_diagonal_and_nothing_from_a_finest_label(case):
    ontology, hierarchy, studies = case
    types = hierarchy.types["cl_id"].tolist()
    for vocabulary in studies.values():
        found = restricted(ontology, hierarchy, vocabulary)
        assert not (found & ~hierarchy.reachability).any()
        assert found.diagonal().all()
        for row, term in enumerate(types):
            if not nx.ancestors(ontology.is_a, term) & set(vocabulary):
                np.testing.assert_array_equal(found[row], hierarchy.reachability[row])


@settings(max_examples=100, deadline=None)
@given(dags_with_studies())
def test_a_larger_vocabulary_leaves_less(case):
    ontology, hierarchy, studies = case
    together = restricted(ontology, hierarchy, [term for own in studies.values() for term in own])
    for vocabulary in studies.values():
        assert not (together & ~restricted(ontology, hierarchy, vocabulary)).any()


def small(edges: list[tuple[str, str]]) -> tuple[Ontology, Hierarchy]:
    """An ontology of (child, parent) edges, all of whose terms are types."""
    is_a = nx.DiGraph(edges)
    names = {term: term.upper() for term in is_a}
    ontology = Ontology("small", names, is_a)
    return ontology, Hierarchy.build(names, ontology)


def answers(ontology: Ontology, hierarchy: Hierarchy, vocabulary: list[str], label: str) -> set:
    types = hierarchy.types["cl_id"].tolist()
    row = restricted(ontology, hierarchy, vocabulary)[types.index(label)]
    return {types[j] for j in np.flatnonzero(row)}


def test_labels_that_overlap_without_nesting_take_nothing_from_each_other():
    # c lies below both a and b, which lie below top.
    case = small([("a", "top"), ("b", "top"), ("c", "a"), ("c", "b"), ("d", "a")])
    assert answers(*case, ["a", "b"], "a") == {"a", "c", "d"}
    assert answers(*case, ["a", "b"], "b") == {"b", "c"}
    assert answers(*case, ["top", "b"], "top") == {"top", "a", "d"}


def test_restricted_reachability_is_not_transitive():
    case = small([("b", "a"), ("d", "a"), ("c", "b"), ("c", "d")])
    vocabulary = ["a", "d"]
    assert "b" in answers(*case, vocabulary, "a")
    assert "c" in answers(*case, vocabulary, "b")
    assert "c" not in answers(*case, vocabulary, "a")


def test_a_term_that_is_no_type_restricts_and_an_unknown_one_does_not():
    ontology, _ = small([("b", "a"), ("c", "b"), ("d", "a")])
    hierarchy = Hierarchy.build({"a": "A", "c": "C", "d": "D"}, ontology)
    assert answers(ontology, hierarchy, ["a", "b"], "a") == {"a", "d"}
    assert answers(ontology, hierarchy, ["a", "unknown"], "a") == {"a", "c", "d"}


def test_a_term_that_was_replaced_restricts_as_the_one_in_its_place():
    ontology, hierarchy = small([("b", "a"), ("d", "a")])
    ontology = Ontology("newer", ontology.names, ontology.is_a, {"old": "Old"}, {"old": "b"})
    assert answers(ontology, hierarchy, ["a", "old"], "a") == {"a", "d"}


def counts(*rows: tuple[str, str, int]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["study", "cl_id", "cells"])
    return table.assign(label=table["cl_id"].str.upper())


def table() -> pd.DataFrame:
    ontology, _ = small([("b", "a")])
    reference = counts(("s1", "a", 5), ("s1", "unknown", 7), ("s2", "b", 2), ("s3", "b", 1))
    newer = counts(("s4", "a", 1), ("s4", "unknown", 2))
    tables = [
        make_table(reference, ontology, "old", KEPT_CELLS),
        make_table(newer, ontology, "new"),
    ]
    return pd.concat(tables, ignore_index=True)


def test_the_table_says_which_terms_are_known_and_what_was_counted():
    found = table()
    assert found.loc[~found["known"], "cl_id"].unique().tolist() == ["unknown"]
    by_release = found.drop_duplicates("release").set_index("release")["counted"]
    assert by_release.to_dict() == {"new": ALL_CELLS, "old": KEPT_CELLS}
    assert len(found) == 6


def test_the_report_lists_the_terms_that_the_ontology_lacks_with_their_cells():
    found = describe(table()).set_index("quantity")["value"]
    assert found["studies with a vocabulary"] == 4
    assert found["terms that the ontology lacks"] == 1
    assert found["cells of unknown (UNKNOWN), which has no effect"] == 9


def test_studies_of_a_collection_share_their_terms():
    found = of_collections(table(), {"s1": "c", "s2": "c", "s4": "c"})
    own = {
        study: dict(zip(t["cl_id"], t["cells"], strict=True)) for study, t in found.groupby("study")
    }
    assert own["s1"] == own["s2"] == {"a": 5, "b": 2, "unknown": 7}
    assert own["s3"] == {"b": 1}
    assert own["s4"] == {"a": 1, "unknown": 2}  # of another release
