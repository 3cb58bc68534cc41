"""Whether probabilities mean what they say.

Each answer u comes with three probabilities, and each has its own notion of being right:

| chance | the probability that | right where |
|---|---|---|
| p | the label is u, p_u | the label is u |
| s | the label is u or below it, s_u = (R p)_u | the label is u or a descendant of u |
| credited | the label is u or above it, (Rᵀp)_u | u is the label or a descendant: u is credited |

The expected calibration error (ECE) is the mean over cells of the difference, bin by bin, between
the share of right answers and the mean probability (Guo et al., ICML 2017), with equally wide bins.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

# Column of the predictions (before `_<decoder>`) → name in the tables.
CHANCES = {"probability": "p", "s": "s", "credited": "credited"}
BINS = 15


def no_bins() -> np.ndarray:
    """Bins without cells, float64 (2, chances, bins, 3)."""
    return np.zeros((2, len(CHANCES), BINS, 3))


def accumulate(
    bins: np.ndarray,
    part: np.ndarray,
    chances: Sequence[np.ndarray],
    hits: Sequence[np.ndarray],
) -> None:
    """Adds cells to the bins.

    Args:
        bins: float64 (2, chances, bins, 3), changed in place: by part, chance and bin the number
            of cells, the sum of their probabilities and the number of right ones.
        part: bool (n,), the part of each cell.
        chances: of each chance (n,) probabilities.
        hits: of each chance bool (n,), whether the answer is right.
    """
    for number, (probability, hit) in enumerate(zip(chances, hits, strict=True)):
        # Sums in float32 may exceed 1 by a rounding.
        bin_ = np.clip((probability * BINS).astype(np.int64), 0, BINS - 1) + BINS * part
        for position, weights in enumerate((None, probability, hit)):
            sums = np.bincount(bin_, weights=weights, minlength=2 * BINS)
            bins[:, number, :, position] += sums.reshape(2, BINS)


def calibration_error(bins: np.ndarray) -> np.ndarray:
    """ECE of bins (..., bins, 3), float64 (...,); NaN without cells."""
    cells = bins[..., 0].sum(axis=-1)
    gap = np.abs(bins[..., 2] - bins[..., 1]).sum(axis=-1)
    return np.where(cells > 0, gap / np.maximum(cells, 1), np.nan)


def calibration_table(bins: np.ndarray) -> pd.DataFrame:
    """The bins that have cells.

    Args:
        bins: float64 (chances, bins, 3).

    Returns:
        probability (p, s or credited), bin, lower, upper, cells, mean_probability, accuracy (the
        share of right answers).
    """
    rows = []
    for number, name in enumerate(CHANCES.values()):
        for bin_, (cells, total, right) in enumerate(bins[number]):
            if cells:
                bounds = (bin_ / BINS, (bin_ + 1) / BINS)
                rows.append((name, bin_, *bounds, int(cells), total / cells, right / cells))
    columns = [
        *("probability", "bin", "lower", "upper", "cells"),
        *("mean_probability", "accuracy"),
    ]
    return pd.DataFrame(rows, columns=columns)
