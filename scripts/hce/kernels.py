"""Whether a kernel for GPUs can be used: it runs here, and gives what tensor operations give.

Kernels are written in Triton, which torch's CUDA builds bring, and compiled where they run: with a
compiler, a driver and a card on which perhaps nobody has tried them.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

# Differences that rounding explains: a few units in the last place of numbers up to 9.
ABSOLUTE = 5e-6
RELATIVE = {torch.float32: 2e-6, torch.bfloat16: 2**-7}


def trusted(task: str, attempt: Callable[[], tuple[Tensor, Tensor]]) -> bool:
    """Tries a kernel; where it cannot be used, one warning says why.

    Args:
        task: what the kernel does, for the warning.
        attempt: imports and runs the kernel; gives its result and that of tensor operations,
            float32 or bfloat16.

    Returns:
        Whether it ran and both results are equal but for rounding.
    """
    try:
        found, expected = attempt()
        equal = torch.allclose(
            found, expected, rtol=RELATIVE[expected.dtype], atol=ABSOLUTE, equal_nan=True
        )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # compilers and drivers raise what they like
        reason = " ".join(f"{type(error).__name__}: {error}".split())
    else:
        if equal:
            return True
        largest = (found.float() - expected.float()).abs().max().item()
        reason = f"it differs from tensor operations by up to {largest:.3g}"
    logger.warning(
        "The GPU's kernel that %s cannot be used here (%s): tensor operations do it, slower.",
        *(task, reason),
    )
    return False


@contextmanager
def full_precision() -> Iterator[None]:
    """Products of float32 are not rounded to TF32 meanwhile, whatever the precision of the fit."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def in_times_of_the_largest(
    found: Sequence[Tensor], expected: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """What `trusted` compares of several results, some of them sums over many numbers.

    Sums are rounded more than what they are made of, so each result is divided by the largest
    number that is expected in it.

    Args:
        found: of the kernel, on any device.
        expected: of tensor operations, in the same order.

    Returns:
        Both, float32 on the CPU, one result after the other.
    """
    sizes = [part.abs().max().cpu() for part in expected]
    made, wanted = (
        torch.cat([part.cpu().flatten() / size for part, size in zip(parts, sizes, strict=True)])
        for parts in (found, expected)
    )
    return made, wanted
