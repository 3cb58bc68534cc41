"""1.5-entmax and its gradient in one kernel each on a GPU; a program takes a row of logits.

Importing this module needs Triton. With TRITON_INTERPRET=1 in the environment, the kernels run on
the CPU, slowly, for tests.

τ is the root of f(τ) = Σ max(z / 2 − τ, 0)² − 1, which falls and is convex: Newton's steps from the
left of the root come closer and never pass it. No row that was tried (ties, clusters at many
distances, up to 19,331 entries) took more than 11 steps.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

WARPS = 32
STEPS = 32  # of Newton at most
CLOSE = 1e-7  # a step this small is the last


class KernelEntmax15(torch.autograd.Function):
    """1.5-entmax of each row of logits, float32 (B, G), as `entmax.entmax15`."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        """The rows, which are all at zero or above and sum to 1."""
        logits = logits.contiguous()
        result = torch.empty_like(logits)
        _launch(_forward, result, logits, STEPS=STEPS, CLOSE=CLOSE)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """The gradient of the logits."""
        (result,) = ctx.saved_tensors
        out = torch.empty_like(result)
        _launch(_backward, out, result, gradient.contiguous())
        return out


def _launch(kernel: Any, out: Tensor, *inputs: Tensor, **constants: float) -> None:
    """Runs a kernel over the rows of its output."""
    n_rows, width = out.shape
    block = triton.next_power_of_2(width)
    with torch.cuda.device_of(out):
        kernel[(n_rows,)](*inputs, out, **constants, WIDTH=width, BLOCK=block, num_warps=WARPS)


@triton.jit
def _forward(
    logits: tl.tensor,
    out: tl.tensor,
    STEPS: tl.constexpr,
    CLOSE: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    at = tl.arange(0, BLOCK)
    row = tl.program_id(0).to(tl.int64) * WIDTH
    half = tl.load(logits + row + at, mask=at < WIDTH, other=float("-inf"))
    half = (half - tl.max(half)) * 0.5
    tau = tl.max(half) - 1.0  # 0 − 1: where the largest entry alone has the sum 1
    step, turn = tau + 2.0, 0
    while (step > CLOSE) & (turn < STEPS):
        # A logit that is not a number makes the whole row so; training then stops with a message.
        above = tl.maximum(half - tau, 0.0, propagate_nan=tl.PropagateNan.ALL)
        step = (tl.sum(above * above) - 1.0) / (2.0 * tl.sum(above))
        tau += step
        turn += 1
    above = tl.maximum(half - tau, 0.0, propagate_nan=tl.PropagateNan.ALL)
    tl.store(out + row + at, above * above, mask=at < WIDTH)


@triton.jit
def _backward(
    result: tl.tensor,
    gradient: tl.tensor,
    out: tl.tensor,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    at = tl.arange(0, BLOCK)
    row = tl.program_id(0).to(tl.int64) * WIDTH
    root = tl.sqrt(tl.load(result + row + at, mask=at < WIDTH, other=0.0))
    scaled = root * tl.load(gradient + row + at, mask=at < WIDTH, other=0.0)
    mean = tl.sum(scaled) / tl.sum(root)
    tl.store(out + row + at, scaled - root * mean, mask=at < WIDTH)
