"""Counts to expression on the processor: log1p of counts per 10,000.

Most counts are small: the logarithms of a cell's small counts are computed once and looked up.

Compiled loops are kept from run to run, and are compiled anew when their own file changes: what
they call stands here with them, and constants of other files are arguments.
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
    """Normalised expression of some cells, to be read with `_expression_of`.

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
        large = large[: _scale(counts.indptr, counts.values, cells, TARGET_TOTAL, small, large)]
        for scaled in (small, large):
            torch.from_numpy(scaled).log1p_()
        return cls(small, large)


@njit(nogil=True, cache=True)
def _scale(
    indptr: np.ndarray,
    values: np.ndarray,
    cells: np.ndarray,
    target: float,
    small: np.ndarray,
    large: np.ndarray,
) -> int:
    """Writes counts × target / total; returns how many are large."""
    n_large = 0
    for i in range(cells.shape[0]):
        own = values[indptr[cells[i]] : indptr[cells[i] + 1]]
        total, above = np.int64(0), np.int64(0)
        for count in own:
            total += np.int64(count)
            above += np.int64(count >= SMALL)
        scale = np.float32(target / (total if total > 0 else 1))
        for count in range(SMALL):
            small[i, count] = np.float32(count) * scale
        if above:
            for count in own:
                if count >= SMALL:
                    large[n_large] = np.float32(count) * scale
                    n_large += 1
    return n_large


@njit(nogil=True, cache=True)
def _expression_of(
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
def _bits_of(value: np.float32, n_bytes: int) -> np.int32:
    """The bits of a float32, or, of two bytes, of the bfloat16 nearest to it (ties to even).

    numpy has no bfloat16, so compiled loops write its bits.
    """
    bits = np.float32(value).view(np.int32)
    if n_bytes == 2:
        return (bits + np.int32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    return bits


def bits(tensor: torch.Tensor) -> np.ndarray:
    """The bits of float32 or bfloat16 as integers that share its memory, see `_bits_of`."""
    return tensor.view(torch.int16 if tensor.dtype == torch.bfloat16 else torch.int32).numpy()


@njit(nogil=True, cache=True)
def write_rows(
    indptr: np.ndarray,
    genes: np.ndarray,
    values: np.ndarray,
    cells: np.ndarray,
    small: np.ndarray,
    large: np.ndarray,
    vectors: np.ndarray,
    background: np.ndarray,
    chosen: np.ndarray,
    largest: float,
    out: np.ndarray,
) -> None:
    """Spreads the expression of some cells over rows of background; `out` are bits."""
    n_large = np.uint64(0)
    for i in range(cells.shape[0]):
        row, logs = out[i], small[i]
        row[:] = background[chosen[i]]
        own = genes[indptr[cells[i]] : indptr[cells[i] + 1]]
        own_values = values[indptr[cells[i]] : indptr[cells[i] + 1]]
        if vectors.shape[0] == 0:
            for k in range(own.shape[0]):
                expression, n_large = _expression_of(own_values[k], logs, large, n_large)
                row[own[k]] = _bits_of(expression, out.itemsize)
            continue
        vector = vectors[chosen[i] % vectors.shape[0]]
        sign = np.float32(1 if chosen[i] < vectors.shape[0] else -1)
        for k in range(own.shape[0]):
            expression, n_large = _expression_of(own_values[k], logs, large, n_large)
            shifted = expression + sign * vector[own[k]]
            clamped = min(max(shifted, np.float32(0)), np.float32(largest))
            row[own[k]] = _bits_of(clamped, out.itemsize)


@njit(nogil=True, cache=True)
def split_rows(
    indptr: np.ndarray,
    genes: np.ndarray,
    values: np.ndarray,
    cells: np.ndarray,
    small: np.ndarray,
    large: np.ndarray,
    column: np.ndarray,
    dense: np.ndarray,
    other_indptr: np.ndarray,
    other_genes: np.ndarray,
    others: np.ndarray,
) -> None:
    """Divides the genes of each cell; `dense` and `others` are bits."""
    last = dense.shape[1] - 1
    shift = 32 - 8 * dense.itemsize  # bfloat16 is the first half of float32
    n_others, n_large = np.uint64(0), np.uint64(0)
    for i in range(cells.shape[0]):
        row, logs = dense[i], small[i]
        row[:] = 0
        own = genes[indptr[cells[i]] : indptr[cells[i] + 1]]
        own_values = values[indptr[cells[i]] : indptr[cells[i] + 1]]
        for k in range(own.shape[0]):
            expression, n_large = _expression_of(own_values[k], logs, large, n_large)
            of_gene = _bits_of(expression, dense.itemsize)
            at = np.uint32(column[own[k]])
            row[at] = of_gene
            # Written over by the next one, if the gene is common.
            other_genes[n_others] = own[k]
            others[n_others] = of_gene << shift
            n_others += np.uint64(at == last)
        row[last] = 0
        other_indptr[i + 1] = n_others
