"""The gate of TabNet's layers: GLU of a product that is normalised part by part."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from hce.kernels import in_times_of_the_largest, trusted
from hce.models.ghost_norm import GhostBatchNorm

LONGEST = 4096  # cells of a part that the kernel takes, which holds a column at least
TRIED = (256, 192)  # cells of a part and width of the layers on which the kernel is tried


def gated_norm(product: Tensor, norm: GhostBatchNorm) -> Tensor:
    """Values × sigmoid(gates), (B, width), of the normalised product (B, 2 width).

    On a GPU one kernel does it in training, where the parts are of one length, and one more gives
    the gradients.
    """
    if norm.training and _on_gpu(product) and kernel_works(product.device):
        lengths = norm.parts(len(product))
        if lengths[0] == lengths[-1] <= LONGEST:
            return by_kernel(product, norm, lengths[0])
    return functional.glu(norm(product), dim=1)


def _on_gpu(product: Tensor) -> bool:
    return product.is_cuda


def by_kernel(product: Tensor, norm: GhostBatchNorm, length: int) -> Tensor:
    """As `gated_norm` in training, of parts of one length; by the kernel for GPUs."""
    from hce.models.gated_kernel import KernelGatedNorm

    weight, bias, eps = norm.bn.weight, norm.bn.bias, norm.bn.eps
    out, mean, variance = KernelGatedNorm.apply(product, weight, bias, length, eps)
    norm.track(mean, variance, length)
    result: Tensor = out
    return result


@lru_cache
def kernel_works(device: torch.device) -> bool:
    """Whether the kernel gives what tensor operations on the CPU give, tried once."""
    length, width = TRIED
    generator = torch.Generator().manual_seed(0)
    product = torch.randn(2 * length, 2 * width, generator=generator) + 0.5
    given = torch.randn(2 * length, width, generator=generator)

    def parts_of(place: torch.device, kernel: bool) -> list[Tensor]:
        norm = GhostBatchNorm(2 * width, length, 0.02).to(place)
        with torch.enable_grad(), torch.autocast(place.type, enabled=False):
            x = product.to(place).requires_grad_()
            out = by_kernel(x, norm, length) if kernel else functional.glu(norm(x), dim=1)
            inputs = (x, norm.bn.weight, norm.bn.bias)
            by_x, *others = torch.autograd.grad(out, inputs, given.to(place))
        assert norm.bn.running_mean is not None
        assert norm.bn.running_var is not None
        others += [norm.bn.running_mean, norm.bn.running_var]
        return [part.detach() for part in (out, by_x, *others)]

    def attempt() -> tuple[Tensor, Tensor]:
        return in_times_of_the_largest(parts_of(device, True), parts_of(torch.device("cpu"), False))

    return trusted("normalises the gated layers of TabNet", attempt)
