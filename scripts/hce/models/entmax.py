"""Exact 1.5-entmax: a softmax that gives exact zeros.

entmax15(z)_i = max(z_i / 2 − τ, 0)², with τ such that the sum is 1. Source: Peters, Niculae &
Martins, Sparse Sequence-to-Sequence Models, ACL 2019.

On the CPU rows are worked on one after the other (`entmax_rows`), on a GPU in one kernel
(`entmax_kernel`), or by tensor operations where that cannot be used.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from hce.kernels import in_times_of_the_largest, trusted
from hce.models.entmax_rows import RowsEntmax15

TRIED = 19_331  # entries of the rows on which the kernel is tried: the paper's genes


def entmax15(logits: Tensor) -> Tensor:
    """1.5-entmax of each row of logits, float (B, G); exact, with its exact gradient."""
    if logits.device.type == "cpu":
        starts = torch.arange(len(logits) + 1) * logits.shape[1]
        rows: Tensor = RowsEntmax15.apply(logits.flatten(), starts)
        return rows.view_as(logits)
    result: Tensor = SortedEntmax15.apply(logits)
    return result


def entmax15_and_entropy(logits: Tensor, shift: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """1.5-entmax p of logits + shift, (B, G), and Σ p × log(p + ε) of each row, (B,).

    Args:
        logits: float (B, G).
        shift: float (G,).
        epsilon: ε.
    """
    if logits.is_cuda and logits.dtype == torch.float32 and kernel_works(logits.device):
        return by_kernel(logits, shift, epsilon)
    result = entmax15(logits + shift)
    return result, (result * (result + epsilon).log()).sum(dim=1)


def by_kernel(logits: Tensor, shift: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """As `entmax15_and_entropy`, by the kernel for GPUs."""
    from hce.models.entmax_kernel import KernelEntmax15

    result, entropy = KernelEntmax15.apply(logits, shift, epsilon)
    return result, entropy


class SortedEntmax15(torch.autograd.Function):
    """1.5-entmax of each row by tensor operations, on any device.

    Each leading part of the sorted row has a threshold for which its sum is 1 if the part is the
    support; the support is the longest part whose smallest value is not below its threshold.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        """Float (B, G)."""
        halves = (logits - logits.amax(dim=1, keepdim=True)) / 2
        falling = halves.clamp_min(-2).sort(dim=1, descending=True).values
        size = torch.arange(1, halves.shape[1] + 1, device=halves.device, dtype=halves.dtype)
        mean = falling.cumsum(dim=1) / size
        spread = falling.square().cumsum(dim=1) - size * mean.square()
        thresholds = mean - ((1 - spread) / size).clamp_min(0).sqrt()
        # At least one, also of a row that is not a number; its threshold is not one either.
        support = (thresholds <= falling).sum(dim=1, keepdim=True).clamp_min(1)
        result = (halves - thresholds.gather(1, support - 1)).clamp_min(0).square()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The gradient of the logits."""
        (result,) = ctx.saved_tensors
        root = result.sqrt()
        scaled = gradients[0] * root
        return scaled - root * (scaled.sum(dim=1, keepdim=True) / root.sum(dim=1, keepdim=True))


@lru_cache
def kernel_works(device: torch.device) -> bool:
    """Whether the kernel for GPUs gives what the CPU does, tried once on rows of all kinds."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(48, TRIED, generator=generator) * torch.logspace(-4, 2, 48)[:, None]
    rows[:8] = rows[:8].round()  # ties
    shift, weights = torch.randn(2, TRIED, generator=generator)
    shift = shift.round() / 1000
    of_entropy = torch.randn(48, generator=generator)

    def parts_of(
        function: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]], place: torch.device
    ) -> list[Tensor]:
        with torch.enable_grad():
            inputs = rows.to(place).requires_grad_(), shift.to(place).requires_grad_()
            results = function(inputs[0], inputs[1], 1e-15)
            given = weights.to(place).expand_as(rows), of_entropy.to(place)
            gradients = torch.autograd.grad(results, inputs, given)
        return [part.detach() for part in (*results, *gradients)]

    def attempt() -> tuple[Tensor, Tensor]:
        expected = parts_of(entmax15_and_entropy, torch.device("cpu"))
        return in_times_of_the_largest(parts_of(by_kernel, device), expected)

    return trusted("computes entmax", attempt)
