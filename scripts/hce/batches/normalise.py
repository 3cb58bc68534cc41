"""Counts to expression on the processor: log1p of counts per 10,000.

Most counts are small: the logarithms of a cell's small counts are computed once and looked up.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit

from hce.store.counts import TARGET_TOTAL, Counts

# Counts below this are looked up.
SMALL = 64


@dataclass(frozen=True)
class Normalised:
    """Normalised expression of some cells, to be read with `expression_of`.

    Attributes:
        small: float32 (b, SMALL), that of counts 0 to SMALL - 1 in each cell; (b, 0) where values
            are normalised already.
        large: float32, that of all other values, in the order of cells and genes.
    """

    small: np.ndarray
    large: np.ndarray

    @classmethod
    def of(cls, counts: Counts, cells: np.ndarray) -> "Normalised":
        """Of the cells at these positions, int64 (b,)."""
        if counts.kind != "counts":
            return cls(np.empty((len(cells), 0), np.float32), counts.take(cells).values)
        small = np.empty((len(cells), SMALL), np.float32)
        most = int((counts.indptr[cells + 1] - counts.indptr[cells]).sum())
        large = np.empty(most, np.float32)  # little of it is used
        large = large[: _scale(counts.indptr, counts.values, cells, small, large)]
        for scaled in (small, large):
            torch.from_numpy(scaled).log1p_()
        return cls(small, large)


@njit(nogil=True, cache=True)
def _scale(
    indptr: np.ndarray,
    values: np.ndarray,
    cells: np.ndarray,
    small: np.ndarray,
    large: np.ndarray,
) -> int:
    """Writes counts × 10,000 / total; returns how many are large."""
    n_large = 0
    for i in range(cells.shape[0]):
        own = values[indptr[cells[i]] : indptr[cells[i] + 1]]
        total, missing = np.int64(0), np.int64(0)
        for count in own:
            total += np.int64(count)
            missing += np.int64(count >= SMALL)
        scale = np.float32(TARGET_TOTAL / (total if total > 0 else 1))
        for count in range(SMALL):
            small[i, count] = np.float32(count) * scale
        if missing:
            for count in own:
                if count >= SMALL:
                    large[n_large] = np.float32(count) * scale
                    n_large += 1
    return n_large


@njit(nogil=True, cache=True)
def expression_of(
    value: float, small: np.ndarray, large: np.ndarray, n_large: np.uint64
) -> tuple[np.float32, np.uint64]:
    """Normalised expression of one value of a cell, and how many large ones are read by then.

    Args:
        value: the count; or expression, if it is normalised already.
        small: `Normalised.small` of this cell.
        large: `Normalised.large`.
        n_large: how many of them are read so far; unsigned, as for other positions numba looks
            whether they are negative.
    """
    if value < small.shape[0]:
        return small[np.uint64(value)], n_large
    return large[n_large], n_large + np.uint64(1)


@njit(nogil=True, cache=True)
def bits_of(value: np.float32, n_bytes: int) -> np.int32:
    """The bits of a float32, or, of two bytes, of the bfloat16 nearest to it (ties to even).

    numpy has no bfloat16, so compiled loops write its bits.
    """
    bits = np.float32(value).view(np.int32)
    if n_bytes == 2:
        return (bits + np.int32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    return bits


def bits(tensor: torch.Tensor) -> np.ndarray:
    """The bits of float32 or bfloat16 as integers that share its memory, see `bits_of`."""
    return tensor.view(torch.int16 if tensor.dtype == torch.bfloat16 else torch.int32).numpy()
