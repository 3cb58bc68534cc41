"""Ghost normalisation and the gate of a layer, and their gradients, in one kernel each on a GPU.

A program takes some columns of one part of a batch: their values and their gates, all cells of the
part at once. Importing this module needs Triton. With TRITON_INTERPRET=1 in the environment, the
kernels run on the CPU, slowly, for tests.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = 4096  # entries of a part and some columns, that a program holds of values and of gates
WARPS = 8


class KernelGatedNorm(torch.autograd.Function):
    """GLU of columns that are normalised part by part, see `gated.gated_norm`."""

    @staticmethod
    def forward(
        ctx: Any, product: Tensor, weight: Tensor, bias: Tensor, length: int, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Output, float32 (B, width), and mean and variance of each part, (parts, 2 width).

        Args:
            ctx: keeps what the gradients need.
            product: (B, 2 width): values and then gates; float32 or bfloat16.
            weight: of the normalisation, float32 (2 width,).
            bias: of the normalisation, float32 (2 width,).
            length: cells of a part, of which B is a multiple.
            eps: added to variances.
        """
        product = product.contiguous()
        out = weight.new_empty(len(product), product.shape[1] // 2)
        mean, variance = weight.new_empty(2, len(product) // length, product.shape[1])
        _launch(_forward, length, eps, product, weight, bias, mean, variance, out)
        ctx.save_for_backward(product, weight, bias, mean, variance)
        ctx.length, ctx.eps = length, eps
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor, *others: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Gradients of the product, the weight and the bias."""
        product, *_, mean, _ = ctx.saved_tensors
        out, of_weight, of_bias = (torch.empty_like(like) for like in (product, mean, mean))
        tensors = (*ctx.saved_tensors, gradient.contiguous(), of_weight, of_bias, out)
        _launch(_backward, ctx.length, ctx.eps, *tensors)
        return out, of_weight.sum(dim=0), of_bias.sum(dim=0), None, None


def _launch(kernel: Any, length: int, eps: float, product: Tensor, *tensors: Tensor) -> None:
    """Runs a kernel over the parts and groups of columns."""
    width, rows = product.shape[1] // 2, triton.next_power_of_2(length)
    columns = min(max(TILE // rows, 1), triton.next_power_of_2(width))
    grid = (len(product) // length, triton.cdiv(width, columns))
    with torch.cuda.device_of(product):
        kernel[grid](
            product,
            *tensors,
            LENGTH=length,
            WIDTH=width,
            EPS=eps,
            ROWS=rows,
            COLUMNS=columns,
            num_warps=WARPS,
        )


@triton.jit
def _forward(
    product: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    mean: tl.tensor,
    variance: tl.tensor,
    out: tl.tensor,
    LENGTH: tl.constexpr,
    WIDTH: tl.constexpr,
    EPS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    row, column, inside = _place(LENGTH, WIDTH, ROWS, COLUMNS)
    value = _normalise(
        product, weight, bias, mean, variance, row, column, inside, 0, LENGTH, WIDTH, EPS
    )
    gate = _normalise(
        product, weight, bias, mean, variance, row, column, inside, WIDTH, LENGTH, WIDTH, EPS
    )
    at = row[:, None] * WIDTH + column[None, :]
    tl.store(out + at, value * tl.sigmoid(gate), mask=inside)


@triton.jit
def _backward(
    product: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    mean: tl.tensor,
    variance: tl.tensor,
    gradient: tl.tensor,
    of_weight: tl.tensor,
    of_bias: tl.tensor,
    out: tl.tensor,
    LENGTH: tl.constexpr,
    WIDTH: tl.constexpr,
    EPS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    row, column, inside = _place(LENGTH, WIDTH, ROWS, COLUMNS)
    value, value_root = _standardise(
        product, mean, variance, row, column, inside, 0, LENGTH, WIDTH, EPS
    )
    gate, gate_root = _standardise(
        product, mean, variance, row, column, inside, WIDTH, LENGTH, WIDTH, EPS
    )
    at = row[:, None] * WIDTH + column[None, :]
    given = tl.load(gradient + at, mask=inside, other=0.0)
    kept = column < WIDTH
    open_ = tl.sigmoid(_affine(gate, weight, bias, column + WIDTH, kept))
    # Of the normalised gates and of the normalised values.
    by_gate = given * _affine(value, weight, bias, column, kept) * open_ * (1.0 - open_)
    by_value = given * open_
    _pass_on(
        by_value, value, value_root, weight, of_weight, of_bias, out,
        row, column, inside, 0, LENGTH, WIDTH,
    )  # fmt: skip
    _pass_on(
        by_gate, gate, gate_root, weight, of_weight, of_bias, out,
        row, column, inside, WIDTH, LENGTH, WIDTH,
    )  # fmt: skip


@triton.jit
def _place(
    LENGTH: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Rows, columns of the values, and which entries of the tile are entries of the part."""
    row = tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row < LENGTH)[:, None] & (column < WIDTH)[None, :]
    return tl.program_id(0).to(tl.int64) * LENGTH + row, column, inside


@triton.jit
def _normalise(
    product: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    mean: tl.tensor,
    variance: tl.tensor,
    row: tl.tensor,
    column: tl.tensor,
    inside: tl.tensor,
    FIRST: tl.constexpr,
    LENGTH: tl.constexpr,
    WIDTH: tl.constexpr,
    EPS: tl.constexpr,
) -> tl.tensor:
    """The normalised values (FIRST 0) or gates (FIRST WIDTH); writes their mean and variance."""
    at = row[:, None] * (2 * WIDTH) + FIRST + column[None, :]
    x = tl.load(product + at, mask=inside, other=0.0).to(tl.float32)
    mu = tl.sum(x, axis=0) / LENGTH
    centred = tl.where(inside, x - mu[None, :], 0.0)
    spread = tl.sum(centred * centred, axis=0) / LENGTH
    kept = column < WIDTH
    place = tl.program_id(0) * (2 * WIDTH) + FIRST + column
    tl.store(mean + place, mu, mask=kept)
    tl.store(variance + place, spread, mask=kept)
    return _affine(centred * _root(spread, EPS)[None, :], weight, bias, FIRST + column, kept)


@triton.jit
def _standardise(
    product: tl.tensor,
    mean: tl.tensor,
    variance: tl.tensor,
    row: tl.tensor,
    column: tl.tensor,
    inside: tl.tensor,
    FIRST: tl.constexpr,
    LENGTH: tl.constexpr,
    WIDTH: tl.constexpr,
    EPS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Values or gates with mean 0 and variance 1, and the factor that made it so."""
    at = row[:, None] * (2 * WIDTH) + FIRST + column[None, :]
    x = tl.load(product + at, mask=inside, other=0.0).to(tl.float32)
    kept = column < WIDTH
    place = tl.program_id(0) * (2 * WIDTH) + FIRST + column
    root = _root(tl.load(variance + place, mask=kept, other=1.0), EPS)
    mu = tl.load(mean + place, mask=kept, other=0.0)
    return tl.where(inside, (x - mu[None, :]) * root[None, :], 0.0), root


@triton.jit
def _pass_on(
    by_normal: tl.tensor,
    standard: tl.tensor,
    root: tl.tensor,
    weight: tl.tensor,
    of_weight: tl.tensor,
    of_bias: tl.tensor,
    out: tl.tensor,
    row: tl.tensor,
    column: tl.tensor,
    inside: tl.tensor,
    FIRST: tl.constexpr,
    LENGTH: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """Gradients of product, weight and bias, from those of the normalised values or gates."""
    kept = column < WIDTH
    by_bias = tl.sum(by_normal, axis=0)
    by_weight = tl.sum(by_normal * standard, axis=0)
    place = tl.program_id(0) * (2 * WIDTH) + FIRST + column
    tl.store(of_bias + place, by_bias, mask=kept)
    tl.store(of_weight + place, by_weight, mask=kept)
    scale = tl.load(weight + FIRST + column, mask=kept, other=0.0) * root
    rest = by_normal - (by_bias[None, :] + standard * by_weight[None, :]) / LENGTH
    at = row[:, None] * (2 * WIDTH) + FIRST + column[None, :]
    tl.store(out + at, (rest * scale[None, :]).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _root(variance: tl.tensor, EPS: tl.constexpr) -> tl.tensor:
    return 1.0 / tl.sqrt_rn(variance + EPS)


@triton.jit
def _affine(
    standard: tl.tensor, weight: tl.tensor, bias: tl.tensor, column: tl.tensor, kept: tl.tensor
) -> tl.tensor:
    scale = tl.load(weight + column, mask=kept, other=0.0)
    shift = tl.load(bias + column, mask=kept, other=0.0)
    return standard * scale[None, :] + shift[None, :]
