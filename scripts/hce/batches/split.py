"""A batch in two parts: genes that many cells have, dense, and the others, sparse.

Some thousand genes have most of the counts. For them a dense product is faster than a sparse one,
although it multiplies zeros too.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor

from hce.batches.densify import Densifier
from hce.batches.normalise import Normalised, bits, split_rows
from hce.store.counts import Counts

# Batches are split up to this share of non-zeros. The sparse products are faster up to a share of
# 0.1 (2,000 genes, 40 types) to 0.2 and more (8,000 genes, 164 types).
SPARSE_SHARE = 0.15
# Genes are common if more than this share of cells has them: from there on dense products are
# faster. Measured with 164 types, on a processor whose bfloat16 products are several times faster.
COMMON_SHARE = {torch.float32: 0.2, torch.bfloat16: 0.1}
# About so many cells of a batch are looked at to find them.
LOOKED_AT = 256
# The number of dense columns is a multiple of this, with which products are faster.
MULTIPLE = 32


@dataclass(frozen=True)
class SplitBatch:
    """Expression of some cells, (B, n_genes), whose common genes are dense.

    Attributes:
        n_genes: of the whole batch.
        common: the common genes, int64 (n,), ascending.
        dense: their expression, (B, width), float32 or bfloat16, in the first n columns; others
            are zero.
        indptr: where each cell begins in `genes` and `values`, int64 (B + 1,).
        genes: uint16, the other genes of each cell, ascending.
        values: float32, their expression, rounded to the precision of `dense`.
    """

    n_genes: int
    common: Tensor
    dense: Tensor
    indptr: np.ndarray
    genes: np.ndarray
    values: np.ndarray

    @property
    def dtype(self) -> torch.dtype:
        """The precision of expression."""
        return self.dense.dtype

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return self.dense.device

    def to_dense(self) -> Tensor:
        """The whole batch, (B, n_genes)."""
        whole = torch.zeros(len(self.dense), self.n_genes, dtype=self.dtype)
        whole[:, self.common] = self.dense[:, : len(self.common)]
        rows = np.repeat(np.arange(len(self.dense)), np.diff(self.indptr))
        others = torch.from_numpy(self.values).to(self.dtype)
        whole[torch.from_numpy(rows), torch.from_numpy(self.genes.astype(np.int64))] = others
        return whole


Expression = Tensor | SplitBatch


class Splitter:
    """Makes batches on the processor for models that take split ones.

    Args:
        densify: makes the batches that are not split; as many are valid at a time as of those.
    """

    def __init__(self, densify: Densifier) -> None:
        self._densify = densify
        self._n_genes = densify.buffers[0].shape[1]
        self._buffers = [
            torch.empty(len(other) * _width(self._n_genes), dtype=other.dtype)
            for other in densify.buffers
        ]

    def __call__(self, counts: Counts, cells: np.ndarray, shifts: np.ndarray | None) -> Expression:
        """Rows of some cells as of `Densifier`, split if they are mostly zeros and not shifted."""
        nonzeros = int((counts.indptr[cells + 1] - counts.indptr[cells]).sum())
        if shifts is not None or nonzeros > SPARSE_SHARE * len(cells) * self._n_genes:
            return self._densify(counts, cells, shifts)
        self._buffers.append(buffer := self._buffers.pop(0))
        return split_batch(counts, cells, self._n_genes, buffer)


def _width(n_common: int) -> int:
    """Columns of the dense part, of which the last one is no gene's."""
    return -(-(n_common + 1) // MULTIPLE) * MULTIPLE


def split_batch(counts: Counts, cells: np.ndarray, n_genes: int, buffer: Tensor) -> SplitBatch:
    """Expression of some cells; which genes are common depends on these alone.

    Args:
        counts: raw ones are normalised, normalised ones taken as they are.
        cells: positions of the cells, int64 (b,).
        n_genes: of the whole batch.
        buffer: float32 or bfloat16, (size,); of it the dense part is made.
    """
    common = _common(counts, cells, n_genes, COMMON_SHARE[buffer.dtype])
    width = _width(len(common))
    dense = buffer[: len(cells) * width].view(len(cells), width)
    # Values of other genes go to the last column, so that the loop needs no branch.
    column = np.full(n_genes, width - 1, np.int32)
    column[common] = np.arange(len(common))
    normalised = Normalised.of(counts, cells)
    nonzeros = int((counts.indptr[cells + 1] - counts.indptr[cells]).sum())
    genes, values = np.empty(nonzeros, np.uint16), np.empty(nonzeros, np.float32)
    indptr = np.zeros(len(cells) + 1, np.int64)
    split_rows(
        *(counts.indptr, counts.genes, counts.values, cells, normalised.small, normalised.large),
        *(column, bits(dense), indptr, genes, values.view(np.int32)),
    )
    rest = indptr[-1]
    return SplitBatch(n_genes, torch.from_numpy(common), dense, indptr, genes[:rest], values[:rest])


def _common(counts: Counts, cells: np.ndarray, n_genes: int, share: float) -> np.ndarray:
    """The genes that are common among some of the cells, int64, ascending."""
    some = cells[:: max(-(-len(cells) // LOOKED_AT), 1)]
    found = np.zeros(n_genes, dtype=np.int32)
    _count(counts.indptr, counts.genes, some, found)
    return np.flatnonzero(found > share * len(some))


@njit(nogil=True, cache=True)
def _count(indptr: np.ndarray, genes: np.ndarray, cells: np.ndarray, found: np.ndarray) -> None:
    """Adds the number of cells that have a gene."""
    for cell in cells:
        for gene in genes[indptr[cell] : indptr[cell + 1]]:
            found[gene] += 1
