"""Scores at the epoch at which the other loss was best."""

import pandas as pd

from hce.evaluation.matched_epochs import matched_epochs


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
    # CE had stopped by then: a score is missing, and is not made up.
    assert found["epoch_of_hce"].isna().all()
    assert found["epoch_of_ce", "hce", "ood", "study_aware_macro_f1"] == 0.3
    assert len(table) == 12


def test_a_fit_without_its_counterpart_has_no_matched_epoch():
    assert matched_epochs(history().query("loss == 'ce'"), "ce", "hce").empty
