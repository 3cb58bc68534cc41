"""Mean and variance of each gene in a batch."""

import numpy as np
import torch
from numba import njit
from torch import Tensor

from hce.batches.normalise import bits
from hce.models.threads import even, in_threads

# Genes whose sums are kept in the first cache of a core at a time.
CACHED_GENES = 1024
# Cells whose float32 sums are added to those of float64.
SUMMED = 64


def moments(expression: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (divided by the number of cells) of each gene, (genes,).

    Batches on the CPU go through a compiled loop: torch takes ten times as long to add up the rows
    of a matrix there.

    Args:
        expression: (B, genes), dense.

    Returns:
        Float32, or float64 of float64 expression; differentiable.
    """
    is_batch = expression.dtype in (torch.float32, torch.bfloat16) and not expression.requires_grad
    if expression.device.type != "cpu" or not is_batch:
        dtype = torch.promote_types(expression.dtype, torch.float32)
        mean = expression.mean(dim=0, dtype=dtype)
        length = torch.linalg.vector_norm(expression, dim=0, dtype=dtype)
        return mean, (length.square() / len(expression) - mean.square()).clamp_min(0)
    n_genes = expression.shape[1]
    sums, squares = np.zeros(n_genes), np.zeros(n_genes)
    rows = bits(expression.contiguous())
    in_threads(lambda first, stop: _add(first, stop, rows, sums, squares), even(n_genes))
    mean_, square = sums / len(rows), squares / len(rows)
    variance = np.maximum(square - mean_**2, 0)
    return torch.from_numpy(mean_).float(), torch.from_numpy(variance).float()


@njit(nogil=True, cache=True)
def _add(first: int, stop: int, rows: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> None:
    """Adds values and their squares, of the genes first to stop; values are bits."""
    shift = 32 - 8 * rows.itemsize  # bfloat16 is the first half of float32
    some, some_squares = np.empty(CACHED_GENES, np.float32), np.empty(CACHED_GENES, np.float32)
    for start in range(first, stop, CACHED_GENES):
        end = min(start + CACHED_GENES, stop)
        for top in range(0, rows.shape[0], SUMMED):
            some[:], some_squares[:] = 0, 0
            for i in range(top, min(top + SUMMED, rows.shape[0])):
                row = rows[i, start:end]
                for j in range(row.shape[0]):
                    value = np.int32(np.int32(row[j]) << shift).view(np.float32)
                    some[j] += value
                    some_squares[j] += value * value
            sums[start:end] += some[: end - start]
            squares[start:end] += some_squares[: end - start]
