"""Exact 1.5-entmax: a softmax that gives exact zeros.

entmax15(z)_i = max(z_i / 2 − τ, 0)², with τ such that the sum is 1. Source: Peters, Niculae &
Martins, Sparse Sequence-to-Sequence Models, ACL 2019.

Of thousands of entries only a few dozen are positive, so only those that can be are sorted. They
are found with a bound: the τ of some of the entries is never above the τ of all, and the maxima of
groups of entries give a τ that is close.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from hce.kernels import trusted

GROUP = 32  # entries per group
MAXIMA = 128  # number of maxima of groups that are used
SLACK = 1e-3  # tolerance of τ for rounding (of float32, and of TF32 products)
TRIED = 19_331  # entries of the rows on which the kernel is tried: the paper's genes


def _threshold(halves: Tensor) -> Tensor:
    """τ (B, 1) of halved logits (B, k) in descending order, the first of which is 0.

    Each leading part of a row has a threshold for which its sum is 1 if the part is the support;
    the support is the longest part whose smallest value is not below its threshold.
    """
    size = torch.arange(1, halves.shape[1] + 1, device=halves.device, dtype=halves.dtype)
    mean = halves.cumsum(dim=1) / size
    spread = halves.square().cumsum(dim=1) - size * mean.square()
    thresholds = mean - ((1 - spread) / size).clamp_min(0).sqrt()
    # At least one, also of a row that is not a number; its threshold is not one either.
    support = (thresholds <= halves).sum(dim=1, keepdim=True).clamp_min(1)
    return thresholds.gather(1, support - 1)


def candidates(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Positions where entmax15 can be positive, a few more than where it is.

    Args:
        logits: float (B, G).

    Returns:
        Rows and columns, int64 (n,), sorted by row and column. Of a row in which a logit is not a
        number, or infinite, the position of such a logit; so its result is not a number.
    """
    width = logits.shape[1]
    groups = max(width // GROUP, min(width, MAXIMA))
    grouped = logits[:, : width // groups * groups].unflatten(1, (-1, groups))
    largest = grouped.amax(dim=1).topk(min(MAXIMA, groups), dim=1).values
    top = largest[:, :1]
    bound = top + 2 * (_threshold((largest - top) / 2) - SLACK)
    found = logits >= bound
    odd = bound.isnan().squeeze(1).nonzero().squeeze(1)
    found[odd, logits[odd].argmax(dim=1)] = True  # argmax takes NaN for the largest
    rows, columns = found.nonzero(as_tuple=True)
    return rows, columns


def pad(values: Tensor, rows: Tensor, n_rows: int) -> tuple[Tensor, Tensor]:
    """Values (n,), given row by row, as a matrix.

    Returns:
        The matrix (n_rows, k), padded with values for which entmax15 is zero, and a mask, bool
        (n_rows, k), such that matrix[mask] are the values.
    """
    counts = torch.bincount(rows, minlength=n_rows)
    where = torch.arange(int(counts.max()), device=rows.device) < counts[:, None]
    lowest = torch.finfo(values.dtype).min / 4
    return values.new_full(where.shape, lowest).masked_scatter(where, values), where


class _Entmax15(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        halves = (logits - logits.amax(dim=1, keepdim=True)) / 2
        few = halves
        if logits.shape[1] > 2 * MAXIMA:
            rows, columns = candidates(logits)
            few, _ = pad(halves[rows, columns], rows, len(logits))
        threshold = _threshold(few.clamp_min(-2).sort(dim=1, descending=True).values)
        result = (halves - threshold).clamp_min(0).square()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        root = result.sqrt()
        scaled = gradients[0] * root
        return scaled - root * (scaled.sum(dim=1, keepdim=True) / root.sum(dim=1, keepdim=True))


def entmax15(logits: Tensor) -> Tensor:
    """1.5-entmax of each row of logits, float (B, G); exact, with its exact gradient."""
    function: type[torch.autograd.Function] = _Entmax15
    if logits.is_cuda and logits.dtype == torch.float32 and kernel_works(logits.device):
        from hce.models.entmax_kernel import KernelEntmax15

        function = KernelEntmax15
    result: Tensor = function.apply(logits)
    return result


@lru_cache
def kernel_works(device: torch.device) -> bool:
    """Whether the kernel for GPUs gives what the CPU does, tried once on rows of all kinds."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(48, TRIED, generator=generator) * torch.logspace(-4, 2, 48)[:, None]
    weights = torch.randn(48, TRIED, generator=generator)
    rows[:8] = rows[:8].round()  # ties

    def attempt() -> tuple[Tensor, Tensor]:
        from hce.models.entmax_kernel import KernelEntmax15

        made = []
        for function, place in ((KernelEntmax15, device), (_Entmax15, torch.device("cpu"))):
            with torch.enable_grad():
                logits = rows.to(place).requires_grad_()
                result = function.apply(logits)
                (gradient,) = torch.autograd.grad(result, logits, weights.to(place))
            made.append(torch.stack([result.detach(), gradient]).cpu())
        return made[0], made[1]

    return trusted("computes entmax", attempt)
