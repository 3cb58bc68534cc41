"""Whether the overall gain of a loss would hold with other studies, donors and seeds.

Seeds vary the training, not the data. Here the studies of an evaluation set are drawn anew, and
both losses are scored on each draw (a paired cluster bootstrap); and once more with donors drawn
within the studies and seeds drawn as well.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from hce.evaluation.draws import Donors, DonorSums, draw_seeds, interval, macro
from hce.metrics import KINDS

COLUMNS = [
    *("model", "set", "decoder", "baseline", "loss", "score", "seeds", "studies", "draws"),
    *("change", "ci_low", "ci_high", "p", "donors", "nested_low", "nested_high", "nested_p"),
]


def bootstrap_changes(
    counts: Mapping[tuple[str, str, int], pd.DataFrame],
    reachability: np.ndarray,
    baseline: str,
    draws: int,
    alpha: float,
) -> pd.DataFrame:
    """Compares every loss with the baseline loss over draws of the studies.

    Macro F1 of a draw is over the types that occur as a label in it; it is taken for each seed and
    averaged. Seeds that one of the two losses lacks are left out.

    Args:
        counts: (model, loss, seed) → counts by donor, see `scoring.score_fit`.
        reachability: bool (C, C).
        baseline: the loss that the others are compared with.
        draws: how many.
        alpha: the interval covers 1 - alpha.

    Returns:
        `COLUMNS`; score is `<kind>_macro_f1`, change that of the studies as they are, ci_low and
        ci_high percentiles of the change over draws of the studies, p twice the smaller share of
        draws on either side of 0, at least 2 / (draws + 1). nested_low, nested_high and nested_p
        are the same with studies, donors within studies, and seeds drawn together. All these are
        missing where a set has fewer than two studies. No rows for a model without the baseline.
    """
    rows: list[tuple] = []
    for model in dict.fromkeys(model for model, _, _ in counts):
        seeds: dict[str, list[int]] = {}
        for name, loss, seed in counts:
            if name == model:
                seeds.setdefault(loss, []).append(seed)
        if baseline not in seeds or len(seeds) < 2:
            continue
        parts = {
            (loss, seed): dict(
                iter(counts[model, loss, seed].groupby(["set", "decoder"], sort=False))
            )
            for loss in seeds
            for seed in seeds[loss]
        }
        for view, first in parts[baseline, seeds[baseline][0]].items():
            donors = Donors.of(first)
            studies = donors.draw_studies(draws)
            nested = donors.draw_donors(draws, studies)
            scores = {}
            for fit, tables in parts.items():
                sums = DonorSums.of(tables[view], donors, reachability)
                scores[fit] = {
                    **_scores("studies", sums.by_study(donors), studies),
                    **_scores("nested", sums, nested),
                }
            for loss in seeds:
                common = [seed for seed in seeds[baseline] if seed in seeds[loss]]
                if loss == baseline or not common:
                    continue
                changes = {
                    name: np.array(
                        [scores[loss, s][name] - scores[baseline, s][name] for s in common]
                    )
                    for name in scores[baseline, common[0]]
                }
                head = (model, *view, baseline, loss)
                rows += _rows(head, changes, donors, draws, alpha)
    return pd.DataFrame(rows, columns=COLUMNS)


def _scores(drawn: str, sums: DonorSums, weights: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """(What is drawn, kind of score) → macro F1 of each draw, float64 (1 + draws,)."""
    return {(drawn, kind): macro(f1) for kind, f1 in sums.f1(weights).items()}


def _rows(head: tuple, changes: Mapping, donors: Donors, draws: int, alpha: float) -> list[tuple]:
    """One row per kind of score, from changes (seeds, 1 + draws)."""
    rows = []
    studies = len(donors.studies)
    for kind in KINDS:
        by_study, nested = changes["studies", kind], changes["nested", kind]
        seeds = len(by_study)
        shares = draw_seeds(seeds, draws)
        change = _summary(by_study.mean(axis=0), studies, alpha)
        _, *of_nested = _summary((shares.T * nested).sum(axis=0), studies, alpha)
        found = (*change, len(donors.names), *of_nested)
        rows.append((*head, f"{kind}_macro_f1", seeds, studies, draws, *found))
    return rows


def _summary(change: np.ndarray, studies: int, alpha: float) -> tuple[float, float, float, float]:
    """Change, interval and p from the change with all studies and that of each draw."""
    observed, drawn = float(change[0]), change[1:]
    if studies < 2:
        return observed, np.nan, np.nan, np.nan
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return observed, *interval(drawn, alpha), min(1.0, 2 * (tail + 1) / (len(drawn) + 1))
