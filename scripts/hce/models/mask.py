"""Masks that are zero but for some genes of a cell, and products with them."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

# A mask with more positive entries than this share of all is treated as dense.
SPARSE = 1 / 32


@dataclass(frozen=True)
class Mask:
    """The weights of genes in cells, where they may be positive; elsewhere they are zero.

    Attributes:
        values: float (n,).
        cells: int64 (n,), ascending.
        genes: int64 (n,).
    """

    values: Tensor
    cells: Tensor
    genes: Tensor


def is_dense(n_values: int, n_cells: int, n_genes: int) -> bool:
    """Whether so much of a mask is positive that matrices of all genes are the cheaper way."""
    return n_values > SPARSE * n_cells * n_genes


def masked_product(values: Tensor, mask: Mask, n_cells: int, weight: Tensor) -> Tensor:
    """Product of rows that are zero but for the genes of a mask with the weights of a layer.

    Args:
        values: float (n,), what stands at the mask's genes.
        mask: where the values stand.
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
