"""Masks that are zero except for some genes of each cell, and products with them."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

# A mask with a larger share of positive entries is treated as dense.
SPARSE = 1 / 32


@dataclass(frozen=True)
class Mask:
    """The weights of genes in cells at the positions where they can be positive; otherwise zero.

    Attributes:
        values: float (n,).
        cells: int64 (n,), ascending.
        genes: int64 (n,).
    """

    values: Tensor
    cells: Tensor
    genes: Tensor


def is_dense(n_values: int, n_cells: int, n_genes: int) -> bool:
    """Whether so much of a mask is positive that dense matrices are faster."""
    return n_values > SPARSE * n_cells * n_genes


def masked_product(values: Tensor, mask: Mask, n_cells: int, weight: Tensor) -> Tensor:
    """Product of rows that are zero except for the genes of a mask with the weights of a layer.

    Args:
        values: float (n,), the values at the positions of the mask.
        mask: the positions.
        n_cells: number of rows.
        weight: float (width, genes).

    Returns:
        float (n_cells, width).
    """
    if is_dense(len(values), n_cells, weight.shape[1]):
        dense = values.new_zeros(n_cells, weight.shape[1])
        return functional.linear(dense.index_put((mask.cells, mask.genes), values), weight)
    starts = torch.searchsorted(mask.cells, torch.arange(n_cells, device=mask.cells.device))
    return functional.embedding_bag(
        mask.genes, weight.mT.contiguous(), starts, per_sample_weights=values, mode="sum"
    )
