"""Batch normalisation over parts of a batch ("ghost batches")."""

from functools import cache

import torch
from torch import Tensor, nn

from hce.errors import UserError


class GhostBatchNorm(nn.Module):
    """Normalises each of floor(n / size) parts of a batch, at least one, with its own statistics.

    In evaluation mode it is ordinary batch normalisation. Source: Hoffer, Hubara & Soudry, NeurIPS
    2017; the number of parts is that of the paper's code.

    Args:
        width: number of columns.
        size: approximate number of cells of a part.
        momentum: momentum of the running statistics, which are updated part by part.
    """

    def __init__(self, width: int, size: int, momentum: float) -> None:
        super().__init__()
        self.size = size
        self.momentum = momentum
        self.bn = nn.BatchNorm1d(width, momentum=momentum)

    def parts(self, n_cells: int) -> list[int]:
        """Numbers of cells of the consecutive parts: equal except for the last.

        Raises:
            UserError: a part has one cell, which has no variance to normalise with.
        """
        length = -(-n_cells // max(n_cells // self.size, 1))
        rest = n_cells % length
        if length == 1 or rest == 1:
            raise UserError(
                f"A training batch of {n_cells} cells leaves a single cell to normalise over: "
                "set training.batch_size to a multiple of the model's virtual_batch_size."
            )
        return [length] * (n_cells // length) + [rest] * (rest > 0)

    def groups(self, x: Tensor) -> list[Tensor]:
        """The parts of x, (B, width), those of one length together: (parts, cells, width)."""
        lengths = self.parts(len(x))
        equal = lengths[0] * lengths.count(lengths[0])
        groups = [x[:equal].unflatten(0, (-1, lengths[0]))]
        return groups if equal == len(x) else [*groups, x[equal:].unsqueeze(0)]

    def forward(self, x: Tensor) -> Tensor:
        """Normalised x, (B, width), in the precision of the parameters."""
        x = x.to(self.bn.weight.dtype)
        if not self.training:
            result: Tensor = self.bn(x)
            return result
        return torch.cat([self.bn(part) for part in x.split(self.parts(len(x)))])

    def scale(self, variance: Tensor) -> Tensor:
        """The factor on deviations from the mean."""
        return self.bn.weight * (variance + self.bn.eps).rsqrt()

    @torch.no_grad()
    def track(self, mean: Tensor, variance: Tensor, n_cells: int) -> None:
        """Updates the running statistics, part by part.

        Args:
            mean: (parts, width).
            variance: (parts, width), over n_cells.
            n_cells: cells per part; running variances divide by one less, like those of torch.
        """
        shares = _shares(len(mean), self.momentum, mean.device, mean.dtype)
        kept = (1 - self.momentum) ** len(mean)
        unbiased = n_cells / (n_cells - 1)
        for running, values, factor in (
            (self.bn.running_mean, mean, 1.0),
            (self.bn.running_var, variance, unbiased),
        ):
            assert running is not None
            running.addmv_(values.mT, shares, beta=kept, alpha=factor)
        assert self.bn.num_batches_tracked is not None
        self.bn.num_batches_tracked += len(mean)


def ungrouped(groups: list[Tensor]) -> Tensor:
    """(B, width) from groups of parts, (parts, cells, width); one alone is not copied."""
    flat = [group.flatten(0, 1) for group in groups]
    return flat[0] if len(flat) == 1 else torch.cat(flat)


@cache  # for ever: a recorded step reads them where they are
def _shares(parts: int, momentum: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """How much of each part is in the running statistics after the last of them, (parts,)."""
    steps = torch.arange(parts - 1, -1, -1, device=device, dtype=dtype)
    return momentum * (1 - momentum) ** steps
