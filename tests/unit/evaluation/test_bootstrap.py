"""The bootstrap over studies against scikit-learn on cells drawn study by study."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from hce.evaluation.bootstrap import SEED, bootstrap_changes
from random_dags import credit_one_by_one

REACHABILITY = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]], dtype=bool)  # 1 lies below 0


def cells_of(seed: int, studies: int, right: float) -> pd.DataFrame:
    """300 cells, of which about a share `right` is predicted right."""
    labels = np.random.default_rng(7).integers(0, 3, 300)
    study = np.random.default_rng(8).integers(0, studies, 300)
    rng = np.random.default_rng(seed)
    guess = rng.integers(0, 3, 300)
    prediction = np.where(rng.random(300) < right, labels, guess)
    return pd.DataFrame({"study": study.astype(str), "label": labels, "prediction": prediction})


def counted(cells: pd.DataFrame) -> pd.DataFrame:
    counts = cells.groupby(["study", "label", "prediction"]).size().reset_index(name="cells")
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


def macro(cells: pd.DataFrame, credited: bool) -> float:
    labels, predicted = cells["label"].to_numpy(), cells["prediction"].to_numpy()
    if credited:
        predicted = credit_one_by_one(labels, predicted, REACHABILITY)
    return f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)


def drawn_cells(cells: pd.DataFrame, times: np.ndarray) -> pd.DataFrame:
    """The cells of each study as often as it was drawn."""
    return cells.loc[np.repeat(cells.index, times[cells["study"].astype(int)])]


def test_change_and_interval_equal_those_of_cells_drawn_study_by_study():
    cells = fits()
    found = changes(cells, draws=100, alpha=0.1)
    drawn = np.random.default_rng(SEED).multinomial(6, np.full(6, 1 / 6), size=100)
    for score, credited in (("credited_macro_f1", True), ("exact_macro_f1", False)):
        wanted = []
        for times in [np.ones(6, dtype=int), *drawn]:
            by_loss = {
                loss: [
                    macro(drawn_cells(cells["linear", loss, seed], times), credited)
                    for seed in (0, 1)
                ]
                for loss in ("ce", "hce")
            }
            wanted.append(np.mean(by_loss["hce"]) - np.mean(by_loss["ce"]))
        row = found.loc[score]
        assert row["change"] == pytest.approx(wanted[0], abs=1e-12)
        low, high = np.quantile(wanted[1:], [0.05, 0.95])
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high), abs=1e-12)
        assert (row["seeds"], row["studies"], row["draws"]) == (2, 6, 100)


def test_a_clear_gain_has_a_small_p_and_none_a_large_one():
    assert (changes(fits(better=0.6))["p"] < 0.05).all()
    same = fits()
    same |= {("linear", "hce", seed): same["linear", "ce", seed] for seed in (0, 1)}
    found = changes(same)
    assert (found["p"] == 1).all()
    assert (found[["change", "ci_low", "ci_high"]] == 0).all(axis=None)


def test_a_set_of_one_study_has_a_change_and_no_interval():
    found = changes(fits(studies=1))
    assert found["change"].notna().all()
    assert found[["ci_low", "ci_high", "p"]].isna().all(axis=None)


def test_losses_are_paired_by_seed_and_need_the_baseline():
    cells = fits()
    del cells["linear", "hce", 0]
    found = changes(cells)
    assert (found["seeds"] == 1).all()
    alone = {fit: table for fit, table in cells.items() if fit[2] == 1}
    assert found["change"].tolist() == changes(alone)["change"].tolist()
    without = {fit: table for fit, table in cells.items() if fit[1] != "ce"}
    assert changes(without).empty
