"""What the gain of one loss over another is made of: decoding, contradicted answers, and the rest.

With cr the credited and sa the study-aware macro F1, both losses read out by argmax unless "sum"
(ancestor sum) is said:

    gain = cr(loss) − cr(baseline) = decoding + contradiction + rest
    decoding = sa(baseline, sum) − sa(baseline): what the read-out alone gives, without retraining
    contradiction = (cr − sa)(loss) − (cr − sa)(baseline): answers that the studies' labels dispute
    rest = sa(loss) − sa(baseline, sum): what is left for training with the loss
"""

from collections.abc import Iterator, Mapping, Sequence

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
            chosen = [tuple(_of(table, name) for table in pair) for pair in fits]
            if not all({ARGMAX, SUM} <= set(pair[0]["decoder"]) for pair in chosen):
                continue
            head = (model, name, baseline, compared)
            rows += _rows(head, _Set(chosen, reachability), types, draws, alpha)
    return pd.DataFrame(rows, columns=COLUMNS)


def _of(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table[table["set"] == name]


class _Set:
    """The counts of one evaluation set by all fits of a model.

    Args:
        fits: for each seed the counts of the baseline and of the compared loss.
        reachability: bool (C, C).
    """

    def __init__(self, fits: Sequence[tuple[pd.DataFrame, ...]], reachability: np.ndarray) -> None:
        self.donors = Donors.of(fits[0][0])
        self.sums = []
        for before, after in fits:
            self.sums.append(
                {
                    key: DonorSums.of(table[table["decoder"] == decoder], self.donors, reachability)
                    for key, table, decoder in (
                        ("before", before, ARGMAX),
                        ("summed", before, SUM),
                        ("after", after, ARGMAX),
                    )
                }
            )

    def types(self, donors: np.ndarray | None = None) -> np.ndarray:
        """Whether each type has cells, bool (C,), among some donors (bool) or all."""
        cells = self.sums[0]["before"].cells
        return (cells if donors is None else cells[donors]).sum(axis=0) > 0

    def scores(
        self, weights: np.ndarray, donors: np.ndarray | slice = slice(None)
    ) -> list[dict[tuple[str, str], np.ndarray]]:
        """For each seed: (read-out, kind of score) → F1 of each type in each draw."""
        return [
            {
                (key, kind): f1
                for key, sums in by_key.items()
                for kind, f1 in sums.only(donors).f1(weights[:, donors]).items()
                if kind != "exact"
            }
            for by_key in self.sums
        ]


def _rows(
    head: tuple, data: _Set, types: pd.DataFrame, draws: int, alpha: float
) -> Iterator[tuple]:
    """The rows of a set."""
    donors = data.donors
    scores = data.scores(donors.draw_studies(draws))
    kinds = node_kinds(types).reindex(range(len(types))).to_numpy()
    for scope in NODE_KINDS:
        among = np.full(len(types), True) if scope == "all" else kinds == scope
        size = int((data.types() & among).sum())
        if size:
            known = len(donors.studies) > 1
            parts = _parts(scores, among)
            yield from _parts_rows((*head, scope, "", size, len(scores)), parts, known, alpha)
    weights = donors.draw_donors(draws)
    for number, study in enumerate(donors.studies):
        own = donors.study == number
        parts = _parts(data.scores(weights, own), np.full(len(types), True))
        size = int(data.types(own).sum())
        line = (*head, "study", study, size, len(scores))
        yield from _parts_rows(line, parts, own.sum() > 1, alpha)


def _parts(
    scores: Sequence[Mapping[tuple[str, str], np.ndarray]], among: np.ndarray
) -> dict[str, np.ndarray]:
    """Part → its change in each draw, float64 (1 + draws,), mean over seeds."""
    cr, sa = (
        {
            key: np.mean([macro(found[key, kind], among) for found in scores], axis=0)
            for key in ("before", "summed", "after")
        }
        for kind in ("credited", "study_aware")
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
