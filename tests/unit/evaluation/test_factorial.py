"""Loss by decoder on scores made up so that every share is known."""

import numpy as np
import pandas as pd
import pytest

from hce.evaluation.factorial import divide_gain

TYPES = pd.DataFrame(
    {
        "index": range(4),
        "kind": ["internal", "leaf", "leaf", "leaf"],
        "connected": [True, True, True, False],
    }
)
# F1 of the four types: the decoder gives the internal node all of its gain, the leaves none.
F1 = {
    ("ce", "argmax"): [0.2, 0.4, 0.4, 0.6],
    ("ce", "ancestor_sum"): [0.8, 0.4, 0.4, 0.6],
    ("hce", "argmax"): [0.8, 0.6, 0.4, 0.6],
    ("hce", "ancestor_sum"): [0.8, 0.7, 0.5, 0.6],
}


def per_type(cells: dict = F1, seeds: int = 2) -> pd.DataFrame:
    return pd.DataFrame(
        [
            ("linear", loss, seed, "ood", decoder, index, value + 0.01 * (2 * seed - 1))
            for (loss, decoder), values in cells.items()
            for seed in range(seeds)
            for index, value in enumerate(values)
        ],
        columns=["model", "loss", "seed", "set", "decoder", "index", "credited_f1"],
    ).assign(study_aware_f1=lambda t: t["credited_f1"] - 0.1, exact_f1=0.3)


def divided(table: pd.DataFrame, types: pd.DataFrame = TYPES) -> pd.DataFrame:
    return (
        divide_gain(table, types, "ce", "hce").set_index(["kind", "loss", "decoder"]).sort_index()
    )


def test_shares_are_of_the_gain_of_the_same_kind_of_types():
    table = divided(per_type())
    share = table["share_of_gain"].to_dict()
    assert share["internal", "ce", "ancestor_sum"] == pytest.approx(1)
    assert share["connected_leaf", "ce", "ancestor_sum"] == pytest.approx(0)
    assert share["connected_leaf", "hce", "ancestor_sum"] == pytest.approx(2)
    assert share["all", "ce", "ancestor_sum"] == pytest.approx(0.6 / 0.8)
    for kind in ("all", "internal", "connected_leaf"):
        assert share[kind, "ce", "argmax"] == pytest.approx(0)
        assert share[kind, "hce", "argmax"] == pytest.approx(1)
    assert table.loc[("connected_leaf", "hce", "argmax"), "types"] == 2


def test_scores_are_means_over_the_types_of_a_kind_and_then_over_seeds():
    table = divided(per_type())
    row = table.loc[("connected_leaf", "hce", "argmax")]
    assert row["credited_macro_f1"] == pytest.approx(0.5)
    assert row["sd"] == pytest.approx(np.std([-0.01, 0.01], ddof=1))
    assert row["study_aware_macro_f1"] == pytest.approx(0.4)
    assert row["study_aware_sd"] == pytest.approx(row["sd"])
    assert (row["exact_macro_f1"], row["exact_sd"]) == pytest.approx((0.3, 0))
    assert row["seeds"] == 2


def test_where_there_is_no_gain_there_is_no_share():
    assert divided(per_type()).loc["isolated_leaf", "share_of_gain"].isna().all()
    # A difference by the rounding of the table is not a gain.
    rounded = {cell: list(values) for cell, values in F1.items()}
    rounded["hce", "argmax"][3] += 1e-9
    assert divided(per_type(rounded)).loc["isolated_leaf", "share_of_gain"].isna().all()


def test_without_the_compared_loss_or_argmax_there_are_scores_and_no_shares():
    for missing in ("hce", "argmax"):
        cells = {cell: values for cell, values in F1.items() if missing not in cell}
        table = divided(per_type(cells))
        assert table["share_of_gain"].isna().all()
        assert table["credited_macro_f1"].notna().all()


def test_one_seed_has_no_sd_and_a_kind_without_types_no_row():
    table = divided(per_type(seeds=1))
    assert table["sd"].isna().all()
    connected = divided(per_type(), TYPES.assign(connected=True))
    assert "isolated_leaf" not in connected.index.get_level_values("kind")
