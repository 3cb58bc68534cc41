"""Macro F1 with the studies, donors and seeds of an evaluation set drawn anew, with replacement.

Counts of donors are added up as often as each was drawn (a cluster bootstrap; Davison and Hinkley,
*Bootstrap Methods and their Application*, 1997, section 3.8). Draws depend on studies and donors
alone, so that all fits are scored on the same ones; the first row is the set as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hce.metrics import KINDS

# Intervals are reproducible; another seed moves them by less than their last digit shown.
SEED = 1


@dataclass(frozen=True)
class Donors:
    """The donors of an evaluation set and the studies that they belong to.

    Attributes:
        names: of the donors, those of a study together.
        study: int64 (D,), study of each donor.
        studies: names of the studies, sorted.
    """

    names: Sequence[str]
    study: np.ndarray
    studies: Sequence[str]

    @classmethod
    def of(cls, counts: pd.DataFrame) -> "Donors":
        """From counts by study and donor, see `scoring.score_fit`."""
        pairs = counts[["study", "donor"]].drop_duplicates().astype(str)
        pairs = pairs.sort_values(["study", "donor"])
        studies, study = np.unique(pairs["study"].to_numpy(str), return_inverse=True)
        return cls(pairs["donor"].tolist(), study, studies.tolist())

    def draw_studies(self, draws: int) -> np.ndarray:
        """Times that each study is drawn, float64 (1 + draws, S)."""
        size = len(self.studies)
        rng = np.random.default_rng(SEED)
        drawn = rng.multinomial(size, np.full(size, 1 / size), size=draws)
        return np.vstack([np.ones(size), drawn])

    def draw_donors(self, draws: int, studies: np.ndarray | None = None) -> np.ndarray:
        """Times that each donor counts where donors are drawn within studies.

        Args:
            draws: how many.
            studies: (1 + draws, S) of `draw_studies`, which are drawn first; None takes each study
                once.

        Returns:
            Times that each donor is drawn, float64 (1 + draws, D).
        """
        rng = np.random.default_rng(SEED + 1)
        weights = np.ones((1 + draws, len(self.names)))
        for study in range(len(self.studies)):
            own = np.flatnonzero(self.study == study)
            times = np.ones(draws, int) if studies is None else studies[1:, study].astype(int)
            # Each time that a study is drawn, as many donors as it has are drawn from it.
            shares = np.full(len(own), 1 / len(own))
            weights[1:, own] = rng.multinomial(times * len(own), shares)
        return weights


def draw_seeds(seeds: int, draws: int) -> np.ndarray:
    """Share of each seed in a mean over seeds that are drawn, float64 (1 + draws, seeds)."""
    rng = np.random.default_rng(SEED + 2)
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws)
    return np.vstack([np.ones(seeds), drawn]) / seeds


@dataclass(frozen=True)
class DonorSums:
    """What F1 is made of, by donor and type, float64 (D, T) for the T types that label cells.

    Studies take the place of donors after `by_study`.

    Attributes:
        types: int64 (T,), index of each type; the others have no F1.
        cells: with that label.
        hits: kind of score → those that are right by it.
        answers: kind of score → cells that were given that type, right ones counted as their label.
    """

    types: np.ndarray
    cells: np.ndarray
    hits: Mapping[str, np.ndarray]
    answers: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, counts: pd.DataFrame, donors: Donors, reachability: np.ndarray) -> "DonorSums":
        """From the counts of a fit in a set by one decoder, see `scoring.score_fit`."""
        label, answer = (counts[name].to_numpy(np.int64) for name in ("label", "prediction"))
        right = {
            "credited": reachability[label, answer],
            "study_aware": counts["study_aware"].to_numpy(bool),
            "exact": label == answer,
        }
        names = pd.Index(donors.names)
        donor = names.get_indexer(pd.Index(counts["donor"].astype(str)))
        shape = len(donors.names), len(reachability)

        def add(types: np.ndarray, cells: np.ndarray) -> np.ndarray:
            key = donor * shape[1] + types
            return np.bincount(key, weights=cells, minlength=shape[0] * shape[1]).reshape(shape)

        cells = counts["cells"].to_numpy(np.float64)
        sums = cls(
            np.arange(shape[1]),
            add(label, cells),
            {kind: add(label, cells * right[kind]) for kind in KINDS},
            {kind: add(np.where(right[kind], label, answer), cells) for kind in KINDS},
        )
        return sums.only(slice(None))

    def only(self, donors: np.ndarray | slice) -> "DonorSums":
        """The sums of some of the donors, for the types that label cells of theirs."""
        kept = self.cells[donors].sum(axis=0) > 0
        some = (
            {kind: sums[donors][:, kept] for kind, sums in of.items()}
            for of in (self.hits, self.answers)
        )
        return DonorSums(self.types[kept], self.cells[donors][:, kept], *some)

    def by_study(self, donors: Donors) -> "DonorSums":
        """The sums of whole studies, of all donors."""
        member = (np.arange(len(donors.studies))[:, None] == donors.study).astype(np.float64)
        some = ({k: member @ sums for k, sums in of.items()} for of in (self.hits, self.answers))
        return DonorSums(self.types, member @ self.cells, *some)

    def f1(self, weights: np.ndarray, kinds: Sequence[str] = KINDS) -> dict[str, np.ndarray]:
        """F1 of each type in each draw, kind of score → float64 (draws, T); NaN without cells.

        Args:
            weights: float64 (draws, D), times that each donor (or study) is drawn.
            kinds: the kinds of score that are wanted.
        """
        present = weights @ self.cells > 0
        scores = {}
        for kind in kinds:
            both = weights @ (self.cells + self.answers[kind])
            f1 = weights @ (2 * self.hits[kind])
            scores[kind] = np.divide(f1, both, out=np.full_like(f1, np.nan), where=present)
        return scores


def macro(f1: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """Mean over the types with cells, (draws,); NaN where a draw has none.

    Args:
        f1: (draws, T), NaN for types without cells.
        among: bool (T,), types to average over; None for all.
    """
    chosen = f1 if among is None else f1[:, among]
    present = ~np.isnan(chosen)
    total, number = chosen.sum(axis=1, where=present), present.sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def interval(drawn: np.ndarray, alpha: float) -> tuple[float, float]:
    """Percentile interval (Efron and Tibshirani, 1993) of draws (draws,); those NaN left out."""
    if np.isnan(drawn).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(drawn, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)
