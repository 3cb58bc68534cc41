"""Paired tests against scipy's, and what happens where there is nothing to test."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, nct, ttest_rel

from hce.evaluation.statistics import LARGE_T, paired_changes, paired_t, smallest_rejecting_t
from hce.files import read_tsv, write_tsv


def scores(
    losses: tuple[str, ...] = ("ce", "hce"), seeds: int = 4, types: int = 6, seed: int = 0
) -> pd.DataFrame:
    """Random F1 per type: a shift of hce that grows with the type, and noise over seeds."""
    rng = np.random.default_rng(seed)
    rows = []
    for model in ("linear", "mlp"):
        for loss in losses:
            for fit in range(seeds):
                for index in range(types):
                    shift = 0.05 * index * (loss != "ce")
                    value = 0.4 + shift + 0.02 * rng.standard_normal()
                    rows.append((model, loss, fit, "ood", "argmax", index, f"type {index}", value))
    columns = ["model", "loss", "seed", "set", "decoder", "index", "label", "f1"]
    return pd.DataFrame(rows, columns=columns)


def changes(table: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    return paired_changes(table, "f1", ["index", "label"], "ce", alpha)


def values(table: pd.DataFrame, model: str, loss: str, index: int) -> np.ndarray:
    rows = table.query("model == @model and loss == @loss and index == @index")
    return rows.sort_values("seed")["f1"].to_numpy()


def test_t_p_and_interval_equal_scipys_paired_test():
    table = scores().sample(frac=1, random_state=1)  # seeds are matched by name, not by row
    result = changes(table)
    assert len(result) == 12
    for row in result.itertuples():
        before = values(table, row.model, "ce", row.index)
        after = values(table, row.model, "hce", row.index)
        test = ttest_rel(after, before)
        interval = test.confidence_interval(0.95)
        assert (row.t, row.p) == pytest.approx((test.statistic, test.pvalue), rel=1e-10)
        assert (row.ci_low, row.ci_high) == pytest.approx((interval.low, interval.high), rel=1e-10)
        assert row.change == pytest.approx(row.f1 - row.baseline_f1, abs=1e-12)
        assert row.seeds == 4


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.floats(-3, 3), st.floats(0.01, 0.2))
@example(1364, 2, 0.0, 0.125)  # a large t
@example(7841, 2, 0.0, 0.01171875)  # a larger one
@example(0, 2, 3.0, 0.015625)  # where SciPy's distribution has no value on the way
def test_the_effect_size_and_its_interval_follow_from_the_noncentral_t(seed, pairs, shift, alpha):
    differences = np.random.default_rng(seed).standard_normal((1, pairs)) + shift
    row = paired_t(differences, alpha).iloc[0]
    assert row["d_z"] == pytest.approx(differences.mean() / differences.std(ddof=1))
    # Under the ends of the interval the observed t is exactly that improbable.
    root = np.sqrt(pairs)
    for end, tail in (("d_z_low", 1 - alpha / 2), ("d_z_high", alpha / 2)):
        if abs(row["t"]) < LARGE_T:
            assert nct.cdf(row["t"], pairs - 1, row[end] * root) == pytest.approx(tail, abs=1e-9)
        else:  # an end is known to 0.5 %
            near = [nct.cdf(row["t"], pairs - 1, row[end] * root * s) for s in (0.995, 1.005)]
            assert min(near) <= tail <= max(near)


def test_the_effect_size_of_almost_equal_differences_is_large_and_its_interval_known():
    table = paired_t(np.array([[0.5, 0.5001, 0.5002, 0.5001]]) * np.array([[1], [-1]]), 0.05)
    assert table["d_z"].abs().min() > 6000
    assert (table["d_z_low"] < table["d_z"]).all()
    assert (table["d_z"] < table["d_z_high"]).all()
    np.testing.assert_allclose(table["d_z_low"], -table["d_z_high"][::-1])
    # The two ways to the interval meet.
    differences = np.array([[1.0, 1.01, 1.02, 0.99]])
    t = paired_t(differences, 0.05)["t"].item()
    near = [
        paired_t(differences + (factor * 100 / t - 1) * differences.mean(), 0.05).iloc[0]
        for factor in (0.9999, 1.0001)
    ]
    assert near[0]["t"] < 100 < near[1]["t"]
    for end in ("d_z_low", "d_z_high"):
        assert near[0][end] == pytest.approx(near[1][end], rel=0.003)
    # No difference at all has no spread to measure it with.
    assert paired_t(np.zeros((1, 4)), 0.05)["d_z"].isna().all()


def holm_by_hand(p: list[float]) -> list[float]:
    """Holm's corrected p-values from the definition."""
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    running = 0.0
    for rank, position in enumerate(order):
        running = max(running, (len(p) - rank) * p[position])
        corrected[position] = min(running, 1.0)
    return corrected.tolist()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.001, 0.2))
def test_holm_is_within_model_and_decides_significance(seed, alpha):
    result = changes(scores(seed=seed), alpha)
    for _, group in result.groupby("model"):
        by_hand = holm_by_hand(group["p"].tolist())
        assert group["p_holm"].tolist() == pytest.approx(by_hand, rel=1e-9)
        assert group["significant"].tolist() == [p <= alpha for p in by_hand]


def test_a_clear_effect_is_significant_and_noise_is_not():
    result = changes(
        scores(types=2).assign(f1=lambda t: t["f1"] + (t["loss"] != "ce") * t["index"])
    )
    assert result.set_index("index")["significant"].to_dict() == {0: False, 1: True}


def test_one_seed_gives_the_change_and_no_test():
    result = changes(scores(seeds=1))
    assert result["change"].notna().all()
    assert result[["ci_low", "ci_high", "t", "p", "p_holm"]].isna().all(axis=None)
    assert (result["test"] == "none").all()
    assert not result["significant"].any()
    assert (result["seeds"] == 1).all()


def test_a_seed_that_one_loss_lacks_is_left_out_of_the_pairs():
    table = scores()
    lacking = table.query("not (loss == 'hce' and seed == 2)")
    expected = changes(table.query("seed != 2"))
    pd.testing.assert_frame_equal(changes(lacking), expected)
    assert (expected["seeds"] == 3).all()


def test_no_seed_in_common_is_said_by_zero_seeds():
    table = scores(seeds=2)
    table.loc[table["loss"] == "hce", "seed"] += 10
    result = changes(table)
    assert len(result) == 12
    assert (result["seeds"] == 0).all()
    assert result["change"].isna().all()


@pytest.mark.parametrize("seeds", [2, 4])
def test_equal_differences_have_the_p_of_the_sign_test_and_stay_in_the_family(seeds):
    table = scores(seeds=seeds)
    fixed = table["index"] == 3
    table.loc[fixed, "f1"] = np.where(table.loc[fixed, "loss"] == "ce", 0.1, 0.7)
    result = changes(table)
    row = result[result["index"] == 3].iloc[0]
    assert row["change"] == pytest.approx(0.6)
    assert row[["t", "ci_low", "ci_high", "d_z"]].isna().all()
    # The exact test of the signs, as scipy has it.
    assert row["p"] == pytest.approx(binomtest(seeds, seeds, 0.5).pvalue)
    assert row["test"] == "sign"
    assert not row["significant"]
    family = result.query("model == 'mlp'")
    assert family["p_holm"].tolist() == pytest.approx(holm_by_hand(family["p"].tolist()))
    assert set(family["test"]) == {"t", "sign"}


def test_no_difference_at_all_has_p_one():
    table = scores()
    table.loc[table["index"] == 3, "f1"] = 0.5
    row = changes(table).query("index == 3").iloc[0]
    assert row[["change", "ci_low", "ci_high", "t", "p"]].tolist() == [0, 0, 0, 0, 1]
    assert row["test"] == "t"


def test_rounding_of_the_tables_makes_no_evidence(tmp_path):
    # 1/3 + x over seeds: the same difference each time, but not after nine digits.
    base = np.array([0.123456789123, 0.234567891234, 0.345678912345, 0.456789123456])
    table = scores(types=1)
    for loss, shift in (("ce", 0.0), ("hce", 1 / 3)):
        table.loc[table["loss"] == loss, "f1"] = np.tile(base + shift, 2)
    write_tsv(table, tmp_path / "scores.tsv")
    result = changes(read_tsv(tmp_path / "scores.tsv"))
    assert (result["test"] == "sign").all()
    assert (result["p"] == 0.125).all()


def test_without_the_baseline_there_is_an_empty_table_with_all_columns():
    result = changes(scores(losses=("hce", "hce_log")))
    assert result.empty
    assert list(result.columns) == list(changes(scores()).columns)


def test_every_other_loss_is_compared_and_a_model_that_lacks_it_is_left_out():
    table = scores(losses=("ce", "hce", "hce_log"))
    table = table.query("not (model == 'linear' and loss == 'hce_log')")
    found = changes(table)[["model", "loss"]].drop_duplicates().to_numpy().tolist()
    assert found == [["linear", "hce"], ["mlp", "hce"], ["mlp", "hce_log"]]


def test_four_seeds_and_eighty_types_need_a_t_above_fifteen():
    limit = smallest_rejecting_t(4, 80, 0.05)
    assert limit == pytest.approx(15.1, abs=0.1)
    noise = np.random.default_rng(0).standard_normal((1, 4))
    noise -= noise.mean()
    error = noise.std(ddof=1) / 2
    for factor, rejected in ((1.001, True), (0.999, False)):
        p = paired_t(noise + factor * limit * error, 0.05)["p"][0]
        assert (p <= 0.05 / 80) == rejected


def test_a_unit_without_a_name_keeps_its_own_scores_and_others_theirs():
    table = scores(losses=("ce", "hce"), types=3)
    unnamed = table.assign(label=table["label"].mask(table["index"] == 1))
    found = changes(unnamed).drop(columns="label")
    pd.testing.assert_frame_equal(found, changes(table).drop(columns="label"))
