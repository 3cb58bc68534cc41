"""A sparse batch in two parts: genes that many cells have, dense, and the others, sparse.

Some thousand genes have most of the counts. For them a dense product is faster than a sparse one,
although it multiplies zeros too.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor

from hce.models.threads import even, in_threads

# Genes are common if more than this share of cells has them: from there on dense products are
# faster. Measured with 164 types, on a processor whose bfloat16 products are several times faster.
COMMON_SHARE = {torch.float32: 0.25, torch.bfloat16: 0.1}
# About so many cells of a batch are looked at to find them.
LOOKED_AT = 256
# The number of dense columns is a multiple of this, with which products are faster.
MULTIPLE = 32
# The cells are divided in so many ranges, which threads share.
PARTS = 16


@dataclass(frozen=True)
class SplitBatch:
    """A batch whose common genes are dense.

    Attributes:
        common: the common genes, int64 (n,), ascending.
        dense: their expression, (B, width), float32 or bfloat16, in the first n columns; others
            are zero.
        starts: where the other genes of each cell begin in `genes` and `values`, int32 (B,).
        ends: where they end, int32 (B,).
        genes: int32; what lies between the cells means nothing.
        values: float32.
    """

    common: Tensor
    dense: Tensor
    starts: np.ndarray
    ends: np.ndarray
    genes: np.ndarray
    values: np.ndarray


def split_batch(expression: Tensor) -> SplitBatch:
    """Divides a batch; which genes are common depends on the batch alone.

    Args:
        expression: float32 or bfloat16 (B, genes), sparse rows (CSR, int32) with genes ascending.
    """
    bounds, genes = expression.crow_indices().numpy(), expression.col_indices().numpy()
    starts, ends, values = bounds[:-1], bounds[1:], expression.values()
    common = _common(bounds, genes, expression.shape[1], COMMON_SHARE[values.dtype])
    if not len(common):
        dense = torch.empty(len(starts), 0, dtype=values.dtype)
        plain = values.float().numpy()
        return SplitBatch(torch.from_numpy(common), dense, starts, ends, genes, plain)
    # Values of other genes go to the last column, so that the loop needs no branch.
    width = -(-(len(common) + 1) // MULTIPLE) * MULTIPLE
    column = np.full(expression.shape[1], width - 1, dtype=np.int32)
    column[common] = np.arange(len(common))
    dense = torch.empty(len(starts), width, dtype=values.dtype)
    other_ends, other_genes = np.empty_like(ends), np.empty_like(genes)
    others = np.empty(len(genes), np.float32)

    def split(first: int, stop: int) -> None:
        _split(
            *(first, stop, starts, ends, genes, _bits(values), column, _bits(dense)),
            *(other_ends, other_genes, others.view(np.int32)),
        )

    in_threads(split, even(len(starts), PARTS))
    return SplitBatch(torch.from_numpy(common), dense, starts, other_ends, other_genes, others)


def _common(bounds: np.ndarray, genes: np.ndarray, n_genes: int, share: float) -> np.ndarray:
    """The genes that are common among some of the cells, int64, ascending."""
    step = -(-(len(bounds) - 1) // LOOKED_AT)
    cells = np.arange(0, len(bounds) - 1, max(step, 1))
    found = np.zeros(n_genes, dtype=np.int32)
    _count(bounds, genes, cells, found)
    return np.flatnonzero(found > share * len(cells))


def _bits(tensor: Tensor) -> np.ndarray:
    """The bits of a tensor as an array of integers that shares its memory."""
    return tensor.view(torch.int16 if tensor.dtype == torch.bfloat16 else torch.int32).numpy()


@njit(nogil=True, cache=True)
def _count(bounds: np.ndarray, genes: np.ndarray, cells: np.ndarray, found: np.ndarray) -> None:
    """Adds the number of cells that have a gene."""
    for i in cells:
        for k in range(bounds[i], bounds[i + 1]):
            found[genes[k]] += 1


@njit(nogil=True, cache=True)
def _split(
    first: int,
    stop: int,
    starts: np.ndarray,
    ends: np.ndarray,
    genes: np.ndarray,
    values: np.ndarray,
    column: np.ndarray,
    dense: np.ndarray,
    other_ends: np.ndarray,
    other_genes: np.ndarray,
    others: np.ndarray,
) -> None:
    """Divides the cells first to stop; values are bits, those of `others` of float32."""
    last = dense.shape[1] - 1
    shift = 32 - 8 * values.itemsize  # bfloat16 is the first half of float32
    for i in range(first, stop):
        row = dense[i]
        row[:] = 0
        own, own_values = genes[starts[i] : ends[i]], values[starts[i] : ends[i]]
        rest, rest_values = other_genes[starts[i] :], others[starts[i] :]
        n = np.uint64(0)  # unsigned, as numba makes sure that other numbers are not negative
        for k in range(own.shape[0]):
            gene = np.uint32(own[k])
            at = np.uint32(column[gene])
            row[at] = own_values[k]
            # Written over by the next one, if the gene is common.
            rest[n] = gene
            rest_values[n] = np.int32(own_values[k]) << shift
            n += np.uint64(at == last)
        row[last] = 0
        other_ends[i] = starts[i] + n
