"""Controls: what a placebo keeps and destroys."""

import numpy as np
import pandas as pd
import pytest

from hce.errors import UserError
from hce.ontology import Hierarchy, Ontology
from hce.ontology.controls import (
    left_out_types,
    permuted_studies,
    placebo_reachability,
    reachability_by,
)
from hce.ontology.targets import Targets
from hce.ontology.vocabularies import make_table


def test_a_placebo_has_the_same_shape_and_other_relations(hierarchy):
    found = placebo_reachability(hierarchy.reachability)
    assert found.diagonal().all()
    for axis in (0, 1):
        sizes = hierarchy.reachability.sum(axis=axis)
        assert sorted(found.sum(axis=axis)) == sorted(sizes)
    # Still an order: what lies below something below lies below.
    assert ((found.astype(int) @ found.astype(int) > 0) == found).all()
    strict = ~np.eye(164, dtype=bool)
    common = (found & hierarchy.reachability & strict).sum()
    assert common < 0.1 * (hierarchy.reachability & strict).sum()
    np.testing.assert_array_equal(found, placebo_reachability(hierarchy.reachability))


def test_another_ontology_relates_the_same_types_in_the_same_order(hierarchy, slim):
    np.testing.assert_array_equal(reachability_by(hierarchy, slim), hierarchy.reachability)
    flat = slim.is_a.copy()
    flat.remove_edges_from(list(flat.edges))
    without = reachability_by(hierarchy, Ontology("flat", slim.names, flat))
    np.testing.assert_array_equal(without, np.eye(164, dtype=bool))


def vocabularies(slim, studies: dict[str, list[str]]) -> pd.DataFrame:
    rows = [
        (study, term, slim.names[term], 3) for study, terms in studies.items() for term in terms
    ]
    table = pd.DataFrame(rows, columns=["study", "cl_id", "label", "cells"])
    return make_table(table, slim, "2023")


def test_every_study_takes_the_vocabulary_of_another_one_and_each_is_taken_once(slim):
    table = vocabularies(slim, {f"study {i}": ["CL:0000084"] for i in range(7)})
    found = permuted_studies(table)
    assert sorted(found) == sorted(found.values())
    assert len(found) == 7
    assert all(study != lender for study, lender in found.items())
    assert found == permuted_studies(table)


def test_one_study_alone_has_no_other_vocabulary_to_take(slim):
    with pytest.raises(UserError, match="has one study, whose vocabulary no other one can take"):
        permuted_studies(vocabularies(slim, {"alone": ["CL:0000084"]}))


def test_a_lent_vocabulary_restricts_and_the_labels_of_cells_stay(slim):
    cd14, cd16 = "CL:0001054", "CL:0002396"
    hierarchy = Hierarchy.build({term: slim.names[term] for term in (cd14, cd16)}, slim)
    table = vocabularies(slim, {"both": [cd14, cd16], "upper": [cd14]})
    targets = Targets.build(table, hierarchy, slim, lenders=permuted_studies(table))
    upper, lower = (hierarchy.types["cl_id"].tolist().index(term) for term in (cd14, cd16))
    studies = pd.Series(["both", "both", "upper"])
    labels = np.array([upper, lower, upper])
    both, finer, other = targets.of_cells("2023", studies, labels)
    # Each restricts what the other one leaves open.
    assert targets.answers[both, lower]
    assert not targets.answers[other, lower]
    assert targets.labels[[both, finer, other]].tolist() == labels.tolist()
    assert targets.answers[[both, finer, other], labels].all()


def test_relatives_are_left_out_or_as_many_cells_of_types_without_a_relation(hierarchy):
    cells = np.random.default_rng(0).integers(10, 200, 164)
    monocyte = hierarchy.labels.index("monocyte")
    below = hierarchy.reachability[monocyte].copy()
    below[monocyte] = False
    relatives = left_out_types(hierarchy.reachability, cells, monocyte, elsewhere=False)
    np.testing.assert_array_equal(relatives, below)
    others = left_out_types(hierarchy.reachability, cells, monocyte, elsewhere=True)
    related = hierarchy.reachability[monocyte] | hierarchy.reachability[:, monocyte]
    assert not (others & related).any()
    missing = cells[below].sum() - cells[others].sum()
    assert 0 <= missing < cells[~related & ~others].min()


def test_a_type_without_descendants_has_no_relatives_to_leave_out(hierarchy):
    leaf = int(np.flatnonzero(hierarchy.reachability.sum(axis=1) == 1)[0])
    with pytest.raises(UserError, match="No type lies below"):
        left_out_types(hierarchy.reachability, np.ones(164, int), leaf, elsewhere=False)
