"""The product of a split batch and the weights of a layer, on the CPU.

A cell has counts for about a tenth of the genes, and only those are multiplied, except for the
genes that many cells have. The order of each sum is the same every time, so
that the same fit gives the same weights.
"""

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from hce.batches.split import SplitBatch
from hce.models.threads import even, in_threads

# Parts of the work per thread: several, because some take longer; and parts of the gradient should
# fit into the cache.
PARTS = 8
# Bytes of the weights of genes that are taken together, so that they stay in the cache of a core.
CACHED = 2**19
# Products with a number of types that is a multiple of this are faster.
MULTIPLE = 16
# One in so many non-zeros is used to divide the genes into parts of equal work.
SAMPLED = 16


def sparse_product(batch: SplitBatch, weight: Tensor) -> Tensor:
    """Expression times transposed weight, differentiable with respect to the weight.

    Args:
        batch: (B, genes); the dense part of the product is in its precision.
        weight: float32 (types, genes); not copied if the weights of a gene lie side by side.

    Returns:
        Float32 (B, types), dense.
    """
    product: Tensor = _SparseProduct.apply(batch, weight)
    return product


class _SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, batch: SplitBatch, weight: Tensor) -> Tensor:
        by_gene = weight.detach().mT.contiguous()
        ctx.batch, ctx.n_genes = batch, len(by_gene)
        out = torch.zeros(len(batch.dense), by_gene.shape[1])
        ranges = -(-by_gene.nbytes // CACHED)
        bounds = even(ctx.n_genes, ranges)
        parts = PARTS * torch.get_num_threads()

        def add(first: int, stop: int) -> None:
            rest = batch.indptr, batch.genes, batch.values
            _multiply(first, stop, bounds, *rest, by_gene.numpy(), out.numpy())

        in_threads(add, even(len(out), parts))
        if len(batch.common):
            types = out.shape[1]
            rows = torch.zeros(batch.dense.shape[1], types + -types % MULTIPLE, dtype=batch.dtype)
            rows[: len(batch.common), :types] = by_gene[batch.common]
            out += (batch.dense @ rows)[:, :types]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        batch = ctx.batch
        by_cell = gradient.contiguous()
        out = torch.zeros(ctx.n_genes, by_cell.shape[1])
        parts = PARTS * torch.get_num_threads()

        def add(first: int, stop: int) -> None:
            rest = batch.indptr, batch.genes, batch.values
            _multiply_transposed(first, stop, *rest, by_cell.numpy(), out.numpy())

        # Threads take genes and not cells: then none adds to what another one writes.
        in_threads(add, _cuts(batch, ctx.n_genes, parts))
        if len(batch.common):
            types = out.shape[1]
            by_type = functional.pad(by_cell.to(batch.dtype), (0, -types % MULTIPLE)).mT
            # The other way round, dense transposed times by_cell, it takes longer.
            found = (by_type.contiguous() @ batch.dense)[:types, : len(batch.common)]
            out.index_copy_(0, batch.common, found.mT.contiguous().float())
        return None, out.mT


def _cuts(batch: SplitBatch, n_genes: int, parts: int) -> list[int]:
    """Bounds of ranges of genes with about as many non-zeros each."""
    sample = np.sort(batch.genes[::SAMPLED])
    inner = [int(sample[len(sample) * part // parts]) for part in range(1, parts) if len(sample)]
    return [0, *inner, n_genes]


# A product and its sum may become one instruction; the order of sums is kept.
@njit(nogil=True, cache=True, fastmath={"contract"})
def _multiply(
    first: int,
    stop: int,
    bounds: np.ndarray,
    indptr: np.ndarray,
    genes: np.ndarray,
    values: np.ndarray,
    by_gene: np.ndarray,
    out: np.ndarray,
) -> None:
    """Adds the sum of value × by_gene[gene] to the row of each cell, for the cells first to stop.

    Genes are taken in ranges with these bounds, one range of all these cells after the other.
    """
    next_up = indptr[first:stop].copy()
    for bound in bounds[1:]:
        for i in range(first, stop):
            k = next_up[i - first]
            end = k + np.searchsorted(genes[k : indptr[i + 1]], bound)
            next_up[i - first] = end
            of_cell = out[i]
            # Four genes at a time, so that the row of the cell is read and written a quarter as
            # often.
            while k + 4 <= end:
                a, b, c, d = values[k], values[k + 1], values[k + 2], values[k + 3]
                of_a, of_b = by_gene[genes[k]], by_gene[genes[k + 1]]
                of_c, of_d = by_gene[genes[k + 2]], by_gene[genes[k + 3]]
                for j in range(of_cell.shape[0]):
                    x = of_cell[j] + a * of_a[j]
                    x += b * of_b[j]
                    x += c * of_c[j]
                    of_cell[j] = x + d * of_d[j]
                k += 4
            while k < end:
                a, of_a = values[k], by_gene[genes[k]]
                for j in range(of_cell.shape[0]):
                    of_cell[j] += a * of_a[j]
                k += 1


@njit(nogil=True, cache=True, fastmath={"contract"})
def _multiply_transposed(
    first: int,
    stop: int,
    indptr: np.ndarray,
    genes: np.ndarray,
    values: np.ndarray,
    by_cell: np.ndarray,
    out: np.ndarray,
) -> None:
    """Adds each gene's sum of value × by_cell[cell] to its row, for the genes first to stop."""
    for i in range(by_cell.shape[0]):
        own = genes[indptr[i] : indptr[i + 1]]
        k = indptr[i] + np.searchsorted(own, first)
        end = indptr[i] + np.searchsorted(own, stop)
        of_cell = by_cell[i]
        # Four genes at a time, so that the rows of cells are read a quarter as often.
        while k + 4 <= end:
            a, b, c, d = values[k], values[k + 1], values[k + 2], values[k + 3]
            of_a, of_b = out[genes[k]], out[genes[k + 1]]
            of_c, of_d = out[genes[k + 2]], out[genes[k + 3]]
            for j in range(of_cell.shape[0]):
                x = of_cell[j]
                of_a[j] += a * x
                of_b[j] += b * x
                of_c[j] += c * x
                of_d[j] += d * x
            k += 4
        while k < end:
            a, of_a = values[k], out[genes[k]]
            for j in range(of_cell.shape[0]):
                of_a[j] += a * of_cell[j]
            k += 1
