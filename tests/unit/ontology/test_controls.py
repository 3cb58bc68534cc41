"""Controls: what a placebo keeps and destroys."""

import numpy as np

from hce.ontology import Ontology
from hce.ontology.controls import placebo_reachability, reachability_by


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
