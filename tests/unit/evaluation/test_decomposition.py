"""The decomposition of a gain: exact sums, and parts that are known beforehand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hce.evaluation.decomposition import PARTS, decompose
from hce.evaluation.draws import SEED, Donors, DonorSums
from hce.metrics import confusion, credit, macro_f1

REACHABILITY = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]], dtype=bool)  # 1 lies below 0
TYPES = pd.DataFrame(
    {
        "index": range(3),
        "kind": ["internal", "leaf", "leaf"],
        "connected": [True, True, False],
    }
)
READ_OUTS = [("ce", "argmax"), ("ce", "ancestor_sum"), ("hce", "argmax"), ("hce", "ancestor_sum")]


def cells_of(rng: np.random.Generator, right: float, studies: int = 5) -> pd.DataFrame:
    labels = np.random.default_rng(7).integers(0, 3, 400)
    study = np.random.default_rng(8).integers(0, studies, 400)
    donor = np.random.default_rng(9).integers(0, 3, 400)
    answer = np.where(rng.random(400) < right, labels, rng.integers(0, 3, 400))
    disputed = (study % 2 == 1) & (labels == 0) & (answer == 1)
    return pd.DataFrame(
        {
            "study": study.astype(str),
            "donor": [f"{s}_{d}" for s, d in zip(study, donor, strict=True)],
            "label": labels,
            "prediction": answer,
            "study_aware": REACHABILITY[labels, answer] & ~disputed,
        }
    )


def fits(seed: int = 0, better: float = 0.3, seeds: int = 2) -> dict[tuple, pd.DataFrame]:
    """(Loss, seed) → cells, read out by both decoders."""
    rng = np.random.default_rng(seed)
    found = {}
    for number in range(seeds):
        for loss in ("ce", "hce"):
            parts = [
                cells_of(rng, 0.3 + better * ((loss, decoder) != READ_OUTS[0])).assign(
                    decoder=decoder, set="ood"
                )
                for decoder in ("argmax", "ancestor_sum")
            ]
            found[loss, number] = pd.concat(parts)
    return found


def divided(cells: dict, draws: int = 100, **options) -> pd.DataFrame:
    keys = ["set", "decoder", "study", "donor", "label", "prediction", "study_aware"]
    counts = {
        ("linear", loss, seed): table.groupby(keys).size().reset_index(name="cells")
        for (loss, seed), table in cells.items()
    }
    names = {"baseline": "ce", "compared": "hce"} | options
    table = decompose(counts, REACHABILITY, TYPES, draws=draws, alpha=0.1, **names)
    return table.set_index(["scope", "unit", "part"]).sort_index()


def macro(table: pd.DataFrame, decoder: str, score: str, study: str | None = None) -> float:
    rows = table[table["decoder"] == decoder]
    rows = rows if study is None else rows[rows["study"] == study]
    labels, answers = rows["label"].to_numpy(), rows["prediction"].to_numpy()
    if score == "study_aware":
        return float(
            macro_f1(confusion(labels, np.where(rows["study_aware"], labels, answers), 3))[0]
        )
    return float(macro_f1(credit(confusion(labels, answers, 3), REACHABILITY))[0])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_the_parts_add_up_to_the_gain_everywhere(seed):
    table = divided(fits(seed), draws=10)["change"].unstack("part")
    np.testing.assert_allclose(table[list(PARTS[1:])].sum(axis=1), table["gain"], atol=1e-12)


@pytest.mark.parametrize("study", [None, "1"])
def test_every_part_is_as_defined(study):
    cells = fits()
    found = divided(cells)
    where = ("all", "") if study is None else ("study", study)
    score = {
        (loss, decoder, kind): np.mean(
            [macro(cells[loss, seed], decoder, kind, study) for seed in (0, 1)]
        )
        for loss, decoder in READ_OUTS
        for kind in ("credited", "study_aware")
    }
    dispute = {
        loss: score[loss, "argmax", "credited"] - score[loss, "argmax", "study_aware"]
        for loss in ("ce", "hce")
    }
    summed = score["ce", "ancestor_sum", "study_aware"]
    wanted = {
        "gain": score["hce", "argmax", "credited"] - score["ce", "argmax", "credited"],
        "decoding": summed - score["ce", "argmax", "study_aware"],
        "contradiction": dispute["hce"] - dispute["ce"],
        "rest": score["hce", "argmax", "study_aware"] - summed,
    }
    for part, value in wanted.items():
        assert found.loc[(*where, part), "change"] == pytest.approx(value, abs=1e-12)
        low, high = found.loc[(*where, part), ["ci_low", "ci_high"]]
        assert low < high


def test_intervals_are_over_draws_of_the_studies():
    cells = fits(seeds=1)
    found = divided(cells)
    drawn = np.random.default_rng(SEED).multinomial(5, np.full(5, 1 / 5), size=100)
    gains = []
    for times in drawn:
        by_study = {str(study): number for study, number in enumerate(times)}
        gain = 0.0
        for loss, sign in (("hce", 1), ("ce", -1)):
            table = cells[loss, 0].reset_index(drop=True)
            table = table.loc[np.repeat(table.index, table["study"].map(by_study))]
            gain += sign * macro(table, "argmax", "credited")
        gains.append(gain)
    low, high = np.quantile(gains, [0.05, 0.95])
    row = found.loc["all", "", "gain"]
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high), abs=1e-12)


def test_types_are_those_with_cells_in_the_set_or_the_study():
    cells = {
        key: table[(table["study"] != "1") | (table["label"] != 2)] for key, table in fits().items()
    }
    types = divided(cells)["types"].unstack("part")["gain"]
    assert (types["all", ""], types["study", "0"], types["study", "1"]) == (3, 3, 2)


def test_one_study_or_one_donor_has_no_interval():
    cells = {key: table[table["study"] == "0"] for key, table in fits().items()}
    rows = divided(cells).query("part == 'gain'")["ci_low"]
    assert np.isnan(rows["all", "", "gain"])  # studies are drawn
    assert np.isfinite(rows["study", "0", "gain"])  # donors are
    two = {key: table[table["donor"] != "0_0"] for key, table in cells.items()}
    assert np.isfinite(divided(two).loc[("study", "0", "gain"), "ci_low"])
    one = {key: table[table["donor"] == "0_2"] for key, table in cells.items()}
    assert np.isnan(divided(one).loc[("study", "0", "gain"), "ci_low"])


def test_a_type_of_a_single_cell_has_an_f1_and_one_without_cells_has_none():
    counts = pd.DataFrame(
        {"study": "s", "donor": "d", "label": [0, 1], "prediction": [0, 0], "cells": [1, 5]}
    ).assign(study_aware=[True, False])
    sums = DonorSums.of(counts, Donors.of(counts), np.eye(3, dtype=bool))
    assert sums.types.tolist() == [0, 1]  # and not the type without cells
    np.testing.assert_allclose(sums.f1(np.ones((1, 1)))["exact"], [[2 / 7, 0]])
    drawn = sums.f1(np.zeros((1, 1)))["exact"]  # a draw without the donor
    assert np.isnan(drawn).all()


def test_kinds_of_types_are_averaged_apart():
    found = divided(fits())["change"].unstack("part")["gain"]
    by_kind = [found[kind, ""] for kind in ("internal", "connected_leaf", "isolated_leaf")]
    assert found["all", ""] == pytest.approx(np.mean(by_kind))


def test_a_gain_within_noise_has_no_shares_and_a_clear_one_shares_that_add_up():
    shares = divided(fits(better=0.6))["share"].loc["all", ""]
    assert shares["gain"] == 1
    assert shares[list(PARTS[1:])].sum() == pytest.approx(1)
    assert divided(fits(better=0.0))["share"].loc["all", ""].isna().all()


def test_without_both_losses_and_decoders_there_are_no_rows():
    cells = fits()
    only_argmax = {key: table[table["decoder"] == "argmax"] for key, table in cells.items()}
    assert divided(only_argmax).empty
    assert divided({key: table for key, table in cells.items() if key[0] == "ce"}).empty
