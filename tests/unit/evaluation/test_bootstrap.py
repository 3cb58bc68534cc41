"""The bootstrap against scikit-learn on cells that are drawn study by study, donor by donor."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from hce.evaluation.bootstrap import bootstrap_changes
from hce.evaluation.draws import SEED, Donors, draw_seeds
from random_dags import credit_one_by_one

REACHABILITY = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]], dtype=bool)  # 1 lies below 0


def cells_of(seed: int, studies: int, right: float) -> pd.DataFrame:
    """300 cells, of which about a share `right` is predicted right."""
    labels = np.random.default_rng(7).integers(0, 3, 300)
    study = np.random.default_rng(8).integers(0, studies, 300)
    rng = np.random.default_rng(seed)
    guess = rng.integers(0, 3, 300)
    prediction = np.where(rng.random(300) < right, labels, guess)
    donor = [
        f"{s}_{d}" for s, d in zip(study, np.random.default_rng(9).integers(0, 4, 300), strict=True)
    ]
    table = pd.DataFrame({"study": study.astype(str), "donor": donor, "label": labels})
    # Odd studies label 1 themselves, so that it is no right answer to 0 there.
    right = REACHABILITY[labels, prediction] & ~((study % 2 == 1) & (labels != prediction))
    return table.assign(prediction=prediction, study_aware=right)


def counted(cells: pd.DataFrame) -> pd.DataFrame:
    keys = ["study", "donor", "label", "prediction", "study_aware"]
    counts = cells.groupby(keys).size().reset_index(name="cells")
    return counts.assign(set="ood", decoder="argmax")


def fits(studies: int = 6, better: float = 0.3) -> dict[tuple[str, str, int], pd.DataFrame]:
    return {
        ("linear", loss, seed): cells_of(10 * seed + (loss == "hce"), studies, 0.3 + gain)
        for loss, gain in (("ce", 0.0), ("hce", better))
        for seed in (0, 1)
    }


def changes(cells: dict, draws: int = 200, alpha: float = 0.05) -> pd.DataFrame:
    counts = {fit: counted(table) for fit, table in cells.items()}
    return bootstrap_changes(counts, REACHABILITY, "ce", draws, alpha).set_index("score")


def macro(cells: pd.DataFrame, score: str) -> float:
    labels, predicted = cells["label"].to_numpy(), cells["prediction"].to_numpy()
    if score == "credited_macro_f1":
        predicted = credit_one_by_one(labels, predicted, REACHABILITY)
    elif score == "study_aware_macro_f1":
        predicted = np.where(cells["study_aware"], labels, predicted)
    return f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)


SCORES = ("credited_macro_f1", "study_aware_macro_f1", "exact_macro_f1")


def drawn_cells(cells: pd.DataFrame, times: dict[str, int], of: str) -> pd.DataFrame:
    """The cells of each study or donor as often as it was drawn."""
    return cells.loc[np.repeat(cells.index, cells[of].map(times))]


@pytest.mark.parametrize("rare", [False, True], ids=["types everywhere", "a type of one study"])
def test_change_interval_and_p_equal_those_of_cells_drawn_study_by_study(rare):
    cells = fits(better=0.1)
    if rare:  # draws without that study have a type less
        cells = {
            fit: table[(table["label"] != 2) | (table["study"] == "0")]
            for fit, table in cells.items()
        }
    found = changes(cells, draws=100, alpha=0.1)
    drawn = np.random.default_rng(SEED).multinomial(6, np.full(6, 1 / 6), size=100)
    for score in SCORES:
        wanted = []
        for times in [np.ones(6, dtype=int), *drawn]:
            by_study = {str(study): number for study, number in enumerate(times)}
            by_loss = {
                loss: [
                    macro(drawn_cells(cells["linear", loss, seed], by_study, "study"), score)
                    for seed in (0, 1)
                ]
                for loss in ("ce", "hce")
            }
            wanted.append(np.mean(by_loss["hce"]) - np.mean(by_loss["ce"]))
        row = found.loc[score]
        assert row["change"] == pytest.approx(wanted[0], abs=1e-12)
        low, high = np.quantile(wanted[1:], [0.05, 0.95])
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high), abs=1e-12)
        fewer = min(np.sum(np.array(wanted[1:]) <= 0), np.sum(np.array(wanted[1:]) >= 0))
        assert row["p"] == pytest.approx(min(1, 2 * (fewer + 1) / 101))
        assert (row["seeds"], row["studies"], row["draws"]) == (2, 6, 100)


def test_the_nested_interval_equals_that_of_cells_drawn_donor_by_donor_and_seeds_drawn():
    cells = fits()
    found = changes(cells, draws=60, alpha=0.1)
    donors = Donors.of(counted(cells["linear", "ce", 0]))
    times = donors.draw_donors(60, donors.draw_studies(60))
    seeds = draw_seeds(2, 60)
    assert found["donors"].tolist() == [len(donors.names)] * 3
    for score in SCORES:
        wanted = []
        for row, shares in zip(times[1:], seeds[1:], strict=True):
            by_donor = dict(zip(donors.names, row.astype(int), strict=True))
            gains = [
                macro(drawn_cells(cells["linear", "hce", seed], by_donor, "donor"), score)
                - macro(drawn_cells(cells["linear", "ce", seed], by_donor, "donor"), score)
                for seed in (0, 1)
            ]
            wanted.append(np.dot(shares, gains))
        low, high = np.quantile(wanted, [0.05, 0.95])
        nested = found.loc[score, ["nested_low", "nested_high"]].tolist()
        assert nested == pytest.approx([low, high], abs=1e-12)


def test_donors_are_drawn_within_the_studies_that_were_drawn():
    donors = Donors.of(counted(cells_of(0, 6, 0.5)))
    studies = donors.draw_studies(500)
    times = donors.draw_donors(500, studies)
    alone = donors.draw_donors(500)
    for study in range(6):
        own = donors.study == study
        np.testing.assert_array_equal(times[:, own].sum(axis=1), studies[:, study] * own.sum())
        np.testing.assert_array_equal(alone[:, own].sum(axis=1), own.sum())
    assert (times[0] == 1).all()
    # On average every donor counts once, and of donors of a study not all the same.
    assert times[1:].mean() == pytest.approx(1)
    assert times[1:].std(axis=0).min() > studies[1:].std(axis=0).max()
    assert draw_seeds(4, 500).sum(axis=1) == pytest.approx(np.ones(501))


def test_a_clear_gain_has_a_small_p_and_none_a_large_one():
    clear = changes(fits(better=0.6), draws=99)
    assert (clear["p"] == 2 / 100).all()  # all draws agree, and it is not 0
    same = fits()
    same |= {("linear", "hce", seed): same["linear", "ce", seed] for seed in (0, 1)}
    found = changes(same)
    assert (found["p"] == 1).all()
    assert (found[["change", "ci_low", "ci_high"]] == 0).all(axis=None)


def test_a_set_of_one_study_has_a_change_and_no_interval():
    found = changes(fits(studies=1))
    assert found["change"].notna().all()
    assert found[["ci_low", "ci_high", "p", "nested_low"]].isna().all(axis=None)


def test_losses_are_paired_by_seed_and_need_the_baseline():
    cells = fits()
    del cells["linear", "hce", 0]
    found = changes(cells)
    assert (found["seeds"] == 1).all()
    alone = {fit: table for fit, table in cells.items() if fit[2] == 1}
    assert found["change"].tolist() == changes(alone)["change"].tolist()
    without = {fit: table for fit, table in cells.items() if fit[1] != "ce"}
    assert changes(without).empty
