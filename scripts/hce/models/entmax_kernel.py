"""1.5-entmax with its entropy, and the gradient, in one kernel each on a GPU; a program a row.

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
    """1.5-entmax of each row of logits, float32 (B, G), as `entmax.entmax15_and_entropy`."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, shift: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        """The rows p of logits + shift, which sum to 1, and Σ p × log(p + ε) of each, (B,)."""
        logits = logits.contiguous()
        result, entropy = torch.empty_like(logits), logits.new_empty(len(logits))
        constants = {"EPSILON": epsilon, "STEPS": STEPS, "CLOSE": CLOSE}
        _launch(_forward, result, logits, shift.contiguous(), entropy, **constants)
        ctx.save_for_backward(result)
        ctx.epsilon = epsilon
        return result, entropy

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor, of_entropy: Tensor
    ) -> tuple[Tensor, Tensor | None, None]:
        """The gradients of the logits and the shift."""
        (result,) = ctx.saved_tensors
        out = torch.empty_like(result)
        inputs = result, gradient.contiguous(), of_entropy.contiguous()
        _launch(_backward, out, *inputs, EPSILON=ctx.epsilon)
        return out, out.sum(dim=0) if ctx.needs_input_grad[1] else None, None


def _launch(kernel: Any, out: Tensor, *inputs: Tensor, **constants: float) -> None:
    """Runs a kernel over the rows of its output."""
    n_rows, width = out.shape
    block = triton.next_power_of_2(width)
    with torch.cuda.device_of(out):
        kernel[(n_rows,)](*inputs, out, **constants, WIDTH=width, BLOCK=block, num_warps=WARPS)


# Rows of logits are not aligned; what is read beside them has to lie in the same registers.
@triton.jit(do_not_specialize_on_alignment=["shift"])
def _forward(
    logits: tl.tensor,
    shift: tl.tensor,
    entropy: tl.tensor,
    out: tl.tensor,
    EPSILON: tl.constexpr,
    STEPS: tl.constexpr,
    CLOSE: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    at = tl.arange(0, BLOCK)
    row = tl.program_id(0).to(tl.int64) * WIDTH
    half = tl.load(logits + row + at, mask=at < WIDTH, other=float("-inf"))
    half += tl.load(shift + at, mask=at < WIDTH, other=0.0)
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
    p = above * above
    tl.store(out + row + at, p, mask=at < WIDTH)
    tl.store(entropy + tl.program_id(0), tl.sum(p * tl.log(p + EPSILON)))


@triton.jit
def _backward(
    result: tl.tensor,
    gradient: tl.tensor,
    of_entropy: tl.tensor,
    out: tl.tensor,
    EPSILON: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    at = tl.arange(0, BLOCK)
    row = tl.program_id(0).to(tl.int64) * WIDTH
    p = tl.load(result + row + at, mask=at < WIDTH, other=0.0)
    given = tl.load(gradient + row + at, mask=at < WIDTH, other=0.0)
    given += tl.load(of_entropy + tl.program_id(0)) * (tl.log(p + EPSILON) + p / (p + EPSILON))
    root = tl.sqrt(p)
    scaled = root * given
    mean = tl.sum(scaled) / tl.sum(root)
    tl.store(out + row + at, scaled - root * mean, mask=at < WIDTH)
