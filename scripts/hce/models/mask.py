"""Masks that are zero except for some genes of each cell, and what a model makes of them.

A sparse mask is computed where it can be positive and nowhere else. On a GPU masks are dense: the
shapes are then the same for every batch, and the GPU is never waited for to learn them.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from hce.kernels import in_times_of_the_largest, trusted

# A mask with a larger share of positive entries is treated as dense.
SPARSE = 1 / 32
TRIED = (130, 1_501)  # cells and genes on which the kernel is tried


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
        entropy: Σ mask × log(mask + ε) over all cells, a scalar.
    """

    values: Tensor
    cells: Tensor
    genes: Tensor
    entropy: Tensor

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
        entropy: see SparseMask.
    """

    values: Tensor
    entropy: Tensor

    def next_prior(self, prior: Tensor | None, gamma: float, shape: torch.Size) -> Tensor:
        """See SparseMask; the shape is that of the mask."""
        del shape
        return gamma - self.values if prior is None else (gamma - self.values) * prior

    def product(self, expression: Tensor, scale: Tensor, shift: Tensor, weight: Tensor) -> Tensor:
        """See SparseMask."""
        place = self.values.device
        if has_static_shapes(place) and kernel_works(place):
            made = by_kernel(self.values, expression, scale, shift)
            more = made.shape[1] - weight.shape[1]
            return functional.linear(made, functional.pad(weight, (0, more)))
        return functional.linear(masked(self.values, expression, scale, shift), weight)


Mask = SparseMask | DenseMask


def masked(values: Tensor, expression: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Values × (scale × expression + shift), (B, genes)."""
    return values * torch.addcmul(shift, expression, scale)


def by_kernel(values: Tensor, expression: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """As `masked`, with zeros up to a multiple of `rows.ALIGNED` genes; by the kernel for GPUs."""
    from hce.models.mask_kernel import KernelMasked

    made: Tensor = KernelMasked.apply(values, expression, scale, shift)
    return made


@lru_cache
def kernel_works(device: torch.device) -> bool:
    """Whether the kernel gives what tensor operations on the CPU give, tried once."""
    (n_cells, n_genes), generator = TRIED, torch.Generator().manual_seed(0)
    values, expression, given = torch.rand(3, n_cells, n_genes, generator=generator)
    scale, shift = torch.randn(2, n_genes, generator=generator)

    def parts_of(place: torch.device, kernel: bool) -> list[Tensor]:
        with torch.enable_grad(), torch.autocast(place.type, enabled=False):
            inputs = [part.to(place).requires_grad_() for part in (values, scale, shift)]
            function = by_kernel if kernel else masked
            made = function(inputs[0], expression.to(place), *inputs[1:])[:, :n_genes]
            gradients = torch.autograd.grad(made, inputs, given.to(place))
        return [part.detach() for part in (made, *gradients)]

    def attempt() -> tuple[Tensor, Tensor]:
        expected = parts_of(torch.device("cpu"), False)
        return in_times_of_the_largest(parts_of(device, True), expected)

    return trusted("masks genes", attempt)
