"""Masks that are zero except for some genes of each cell, and what a model makes of them.

A sparse mask is computed where it can be positive and nowhere else. On a GPU masks are dense: the
shapes are then the same for every batch, and the GPU is never waited for to learn them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

# A mask with a larger share of positive entries is treated as dense.
SPARSE = 1 / 32


def is_dense(n_values: int, n_cells: int, n_genes: int) -> bool:
    """Whether so much of a mask is positive that dense matrices are faster."""
    return n_values > SPARSE * n_cells * n_genes


def has_static_shapes(device: torch.device) -> bool:
    """Whether masks on a device are dense, however little of them is positive."""
    return device.type == "cuda"


@dataclass(frozen=True)
class SparseMask:
    """The weights of genes in cells at the positions where they can be positive; otherwise zero.

    Attributes:
        values: float (n,).
        cells: int64 (n,), ascending.
        genes: int64 (n,).
    """

    values: Tensor
    cells: Tensor
    genes: Tensor

    def entropy(self, epsilon: float) -> Tensor:
        """Σ mask × log(mask + ε) over all cells, a scalar."""
        return _entropy(self.values, epsilon)

    def next_prior(self, prior: Tensor | None, gamma: float, shape: torch.Size) -> Tensor:
        """(γ − mask) × prior, of this shape, (B, genes); None stands for ones."""
        if prior is None:
            prior = self.values.new_ones(shape)
        at = (self.cells, self.genes)
        return (gamma * prior).index_put(at, (gamma - self.values) * prior[at])

    def product(self, expression: Tensor, scale: Tensor, shift: Tensor, weight: Tensor) -> Tensor:
        """Product of mask × (scale × expression + shift) with the weights of a layer.

        Args:
            expression: (B, genes).
            scale: float (genes,).
            shift: float (genes,).
            weight: float (width, genes).

        Returns:
            float (B, width).
        """
        at = (self.cells, self.genes)
        scaled = torch.addcmul(shift[self.genes], expression[at], scale[self.genes])
        values, n_cells = self.values * scaled, len(expression)
        if is_dense(len(values), n_cells, weight.shape[1]):
            dense = values.new_zeros(n_cells, weight.shape[1])
            return functional.linear(dense.index_put(at, values), weight)
        starts = torch.searchsorted(self.cells, torch.arange(n_cells, device=self.cells.device))
        return functional.embedding_bag(
            self.genes, weight.mT.contiguous(), starts, per_sample_weights=values, mode="sum"
        )


@dataclass(frozen=True)
class DenseMask:
    """The weights of all genes in all cells; methods as those of `SparseMask`.

    Attributes:
        values: float (B, genes).
    """

    values: Tensor

    def entropy(self, epsilon: float) -> Tensor:
        """See SparseMask."""
        return _entropy(self.values, epsilon)

    def next_prior(self, prior: Tensor | None, gamma: float, shape: torch.Size) -> Tensor:
        """See SparseMask; the shape is that of the mask."""
        del shape
        return gamma - self.values if prior is None else (gamma - self.values) * prior

    def product(self, expression: Tensor, scale: Tensor, shift: Tensor, weight: Tensor) -> Tensor:
        """See SparseMask."""
        scaled = torch.addcmul(shift, expression, scale)
        return functional.linear(self.values * scaled, weight)


Mask = SparseMask | DenseMask


def _entropy(values: Tensor, epsilon: float) -> Tensor:
    return (values * (values + epsilon).log()).sum()
