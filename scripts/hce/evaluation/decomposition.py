"""What the gain of one loss over another is made of: decoding, contradicted answers, and the rest.

With cr the credited and sa the study-aware macro F1, both losses read out by argmax unless "sum"
(ancestor sum) is said:

    gain = cr(loss) − cr(baseline) = decoding + contradiction + rest
    decoding = sa(baseline, sum) − sa(baseline): what the read-out alone gives, without retraining
    contradiction = (cr − sa)(loss) − (cr − sa)(baseline): answers that the studies' labels dispute
    rest = sa(loss) − sa(baseline, sum): what is left for training with the loss
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hce.evaluation.draws import Donors, DonorSums, interval, macro
from hce.evaluation.factorial import NODE_KINDS, node_kinds

PARTS = ("gain", "decoding", "contradiction", "rest")
COLUMNS = [
    *("model", "set", "baseline", "loss", "scope", "unit", "types", "seeds", "part"),
    *("change", "ci_low", "ci_high", "share"),
]
ARGMAX, SUM = "argmax", "ancestor_sum"
SCORES = ("credited", "study_aware")


def decompose(
    counts: Mapping[tuple[str, str, int], pd.DataFrame],
    reachability: np.ndarray,
    types: pd.DataFrame,
    baseline: str,
    compared: str,
    draws: int,
    alpha: float,
) -> pd.DataFrame:
    """Divides the gain of a loss, overall, by kind of type, and in each study.

    Args:
        counts: (model, loss, seed) → counts by donor, see `scoring.score_fit`, read out by argmax
            and ancestor_sum.
        reachability: bool (C, C).
        types: `Hierarchy.types`.
        baseline: the loss that the gain starts from.
        compared: the loss that it leads to.
        draws: how often studies are drawn anew, or donors in a single study.
        alpha: the intervals cover 1 - alpha.

    Returns:
        `COLUMNS`, means over the seeds that both losses have. scope is one of
        `factorial.NODE_KINDS`, or study, whose name is unit. ci_low and ci_high are percentiles
        over draws of the studies, in a single study of its donors; missing where there is one.
        share is a part's share of the gain, missing where the interval of the gain reaches 0 or
        less. No rows for models without both losses and decoders.
    """
    rows: list[tuple] = []
    for model in dict.fromkeys(model for model, _, _ in counts):
        seeds = [
            seed
            for name, loss, seed in counts
            if (name, loss) == (model, baseline) and (model, compared, seed) in counts
        ]
        if not seeds:
            continue
        fits = [(counts[model, baseline, seed], counts[model, compared, seed]) for seed in seeds]
        for name in dict.fromkeys(fits[0][0]["set"]):
            chosen = [(_of(before, name), _of(after, name)) for before, after in fits]
            if not all({ARGMAX, SUM} <= set(pair[0]["decoder"]) for pair in chosen):
                continue
            head = (model, name, baseline, compared)
            rows += _rows(head, _Set.read(chosen, reachability), types, draws, alpha)
    return pd.DataFrame(rows, columns=COLUMNS)


def _of(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table[table["set"] == name]


@dataclass(frozen=True)
class _Set:
    """The counts of one evaluation set by all fits of a model.

    Attributes:
        donors: of the set.
        sums: for each seed the sums of `before` (the baseline by argmax), `summed` (the baseline by
            ancestor sum) and `after` (the compared loss by argmax).
    """

    donors: Donors
    sums: Sequence[Mapping[str, DonorSums]]

    @classmethod
    def read(
        cls, fits: Sequence[tuple[pd.DataFrame, pd.DataFrame]], reachability: np.ndarray
    ) -> "_Set":
        """From the counts of the baseline and of the compared loss, for each seed."""
        donors = Donors.of(fits[0][0])

        def sums(table: pd.DataFrame, decoder: str) -> DonorSums:
            return DonorSums.of(table[table["decoder"] == decoder], donors, reachability)

        return cls(
            donors,
            [
                {
                    "before": sums(before, ARGMAX),
                    "summed": sums(before, SUM),
                    "after": sums(after, ARGMAX),
                }
                for before, after in fits
            ],
        )

    def of(self, donors: np.ndarray) -> "_Set":
        """Some of the donors (bool)."""
        return self._with(lambda sums: sums.only(donors))

    def by_study(self) -> "_Set":
        """Whole studies in the place of donors."""
        return self._with(lambda sums: sums.by_study(self.donors))

    def _with(self, change: Callable[[DonorSums], DonorSums]) -> "_Set":
        sums = [{key: change(old) for key, old in by_key.items()} for by_key in self.sums]
        return _Set(self.donors, sums)

    @property
    def types(self) -> np.ndarray:
        """Index of the types that have an F1, int64 (T,)."""
        return self.sums[0]["before"].types

    def scores(self, weights: np.ndarray) -> list[dict[tuple[str, str], np.ndarray]]:
        """For each seed: (read-out, kind of score) → F1 of each of `types` in each draw."""
        return [
            {
                (key, kind): f1
                for key, sums in by_key.items()
                for kind, f1 in sums.f1(weights, SCORES).items()
            }
            for by_key in self.sums
        ]


def _rows(
    head: tuple, data: _Set, types: pd.DataFrame, draws: int, alpha: float
) -> Iterator[tuple]:
    """The rows of a set."""
    donors = data.donors
    scores = data.by_study().scores(donors.draw_studies(draws))
    kinds = node_kinds(types).reindex(data.types).to_numpy()
    for scope in NODE_KINDS:
        among = np.full(len(kinds), True) if scope == "all" else kinds == scope
        size = int(among.sum())
        if size:
            known = len(donors.studies) > 1
            parts = _parts(scores, among)
            yield from _parts_rows((*head, scope, "", size, len(scores)), parts, known, alpha)
    weights = donors.draw_donors(draws)
    for number, study in enumerate(donors.studies):
        own = donors.study == number
        in_study = data.of(own)
        parts = _parts(in_study.scores(weights[:, own]))
        line = (*head, "study", study, len(in_study.types), len(scores))
        yield from _parts_rows(line, parts, own.sum() > 1, alpha)


def _parts(
    scores: Sequence[Mapping[tuple[str, str], np.ndarray]], among: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Part → its change in each draw, float64 (1 + draws,), mean over seeds."""
    cr, sa = (
        {
            key: np.mean([macro(found[key, kind], among) for found in scores], axis=0)
            for key in ("before", "summed", "after")
        }
        for kind in SCORES
    )
    return {
        "gain": cr["after"] - cr["before"],
        "decoding": sa["summed"] - sa["before"],
        "contradiction": (cr["after"] - sa["after"]) - (cr["before"] - sa["before"]),
        "rest": sa["after"] - sa["summed"],
    }


def _parts_rows(
    line: tuple, parts: Mapping[str, np.ndarray], known: bool, alpha: float
) -> Iterator[tuple]:
    """One row per part; without interval and share where it is not known how they vary."""
    intervals = {
        part: interval(values[1:], alpha) if known else (np.nan, np.nan)
        for part, values in parts.items()
    }
    gain = parts["gain"][0] if intervals["gain"][0] > 0 else np.nan
    for part in PARTS:
        change = parts[part][0]
        yield (*line, part, change, *intervals[part], change / gain)
