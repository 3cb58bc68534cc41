"""Controls: what a placebo keeps and destroys, and scores at matched epochs."""

import numpy as np
import pandas as pd

from hce.ontology import Ontology
from hce.ontology.controls import matched_epochs, placebo_reachability, reachability_by


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


def history() -> pd.DataFrame:
    """CE is best at epoch 1 of 3 and HCE at epoch 3 of 4."""
    rows = [
        ("linear", loss, 0, epoch, value == max(values), value, value - 0.1, value - 0.3)
        for loss, values in (("ce", [0.5, 0.7, 0.6]), ("hce", [0.4, 0.5, 0.6, 0.8]))
        for epoch, value in enumerate(values)
    ]
    return pd.DataFrame(
        rows,
        columns=[
            *("model", "loss", "seed", "epoch", "kept", "val_credited_macro_f1"),
            *("val_exact_macro_f1", "ood_credited_macro_f1"),
        ],
    ).assign(ood_exact_macro_f1=0.25, val_study_aware_macro_f1=0.3, ood_study_aware_macro_f1=0.3)


def test_each_loss_is_scored_at_the_best_epoch_of_the_other():
    table = matched_epochs(history(), "ce", "hce")
    found = table.set_index(["control", "loss", "set", "score"])["value"]
    assert found["epoch_of_ce", "hce", "val", "credited_macro_f1"] == 0.5
    assert found["epoch_of_ce", "hce", "val", "exact_macro_f1"] == 0.4
    assert found["epoch_of_ce", "hce", "ood", "credited_macro_f1"] == 0.2
    # CE had stopped by then: there is no score, and none is made up.
    assert found["epoch_of_hce"].isna().all()
    assert found["epoch_of_ce", "hce", "ood", "study_aware_macro_f1"] == 0.3
    assert len(table) == 12


def test_a_fit_without_its_counterpart_has_no_matched_epoch():
    assert matched_epochs(history().query("loss == 'ce'"), "ce", "hce").empty
