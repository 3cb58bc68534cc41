"""Whether the overall gain of a loss would hold with other studies.

Seeds vary the training, not the data. Here the studies of an evaluation set are drawn anew, with
replacement, and both losses are scored on each draw (a paired cluster bootstrap over studies).
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from hce.metrics import credit

COLUMNS = [
    *("model", "set", "decoder", "baseline", "loss", "score", "seeds", "studies", "draws"),
    *("change", "ci_low", "ci_high", "p"),
]
# The interval and p are reproducible; another seed moves them by less than their last digit shown.
SEED = 1


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
        counts: (model, loss, seed) → counts by study, see `scoring.score_fit`.
        reachability: bool (C, C).
        baseline: the loss that the others are compared with.
        draws: how many.
        alpha: the interval covers 1 - alpha.

    Returns:
        `COLUMNS`; score is credited_macro_f1 or exact_macro_f1, change that of the studies as they
        are, ci_low and ci_high percentiles of the change over draws (Efron and Tibshirani, 1993),
        and p twice the smaller share of draws on either side of 0, at least 2 / (draws + 1). They
        are missing where a set has fewer than two studies. No rows for a model without the
        baseline.
    """
    rows = []
    models = dict.fromkeys(model for model, _, _ in counts)
    for model in models:
        seeds: dict[str, list[int]] = {}
        for name, loss, seed in counts:
            if name == model:
                seeds.setdefault(loss, []).append(seed)
        if baseline not in seeds or len(seeds) < 2:
            continue
        first = counts[model, baseline, seeds[baseline][0]]
        for set_name, decoder in dict.fromkeys(zip(first["set"], first["decoder"], strict=True)):
            scores = {}
            for loss in seeds:
                for seed in seeds[loss]:
                    table = counts[model, loss, seed]
                    chosen = (table["set"] == set_name) & (table["decoder"] == decoder)
                    scores[loss, seed] = _drawn_scores(table[chosen], reachability, draws)
            for loss in seeds:
                common = [seed for seed in seeds[baseline] if seed in seeds[loss]]
                if loss == baseline or not common:
                    continue
                for score in ("credited_macro_f1", "exact_macro_f1"):
                    change = np.mean(
                        [scores[loss, s][score] - scores[baseline, s][score] for s in common],
                        axis=0,
                    )
                    studies = scores[baseline, common[0]]["studies"]
                    head = (model, set_name, decoder, baseline, loss, score, len(common))
                    rows.append((*head, studies, draws, *_summary(change, studies, alpha)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _summary(change: np.ndarray, studies: int, alpha: float) -> tuple[float, float, float, float]:
    """Change, interval and p from the change with all studies and that of each draw."""
    observed, drawn = float(change[0]), change[1:]
    if studies < 2:
        return observed, np.nan, np.nan, np.nan
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return observed, float(low), float(high), min(1.0, 2 * (tail + 1) / (len(drawn) + 1))


def _drawn_scores(table: pd.DataFrame, reachability: np.ndarray, draws: int) -> dict:
    """Macro F1 with all studies, then of each draw, float64 (1 + draws,); number of studies.

    The draws depend on the studies alone, so that all fits are scored on the same ones.
    """
    names, study = np.unique(table["study"].to_numpy(str), return_inverse=True)
    n_studies, n_types = len(names), len(reachability)
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(n_studies, np.full(n_studies, 1 / n_studies), size=draws)
    weights = np.vstack([np.ones(n_studies), drawn])
    counts = np.zeros((n_studies, n_types, n_types), dtype=np.int64)
    np.add.at(counts, (study, table["label"], table["prediction"]), table["cells"])
    found: dict = {"studies": n_studies}
    for score, made in (
        ("credited_macro_f1", credit(counts, reachability)),
        ("exact_macro_f1", counts),
    ):
        hits = weights @ np.diagonal(made, axis1=1, axis2=2)
        cells = weights @ made.sum(axis=2)
        predicted = weights @ made.sum(axis=1)
        present = cells > 0
        f1 = np.where(present, 2 * hits / np.maximum(cells + predicted, 1), 0.0)
        found[score] = f1.sum(axis=1) / present.sum(axis=1)
    return found
