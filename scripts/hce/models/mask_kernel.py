"""A dense mask on normalised expression, and its gradients, in one kernel each on a GPU.

A program takes some columns of some cells. Importing this module needs Triton. With
TRITON_INTERPRET=1 in the environment, the kernels run on the CPU, slowly, for tests.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from hce.batches.rows import ALIGNED

COLUMNS = 1024  # that a program takes
CELLS = 64  # that a program takes, one after the other
WARPS = 4


class KernelMasked(torch.autograd.Function):
    """mask × (scale × expression + shift), as `mask.masked`."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, expression: Tensor, scale: Tensor, shift: Tensor
    ) -> Tensor:
        """Float (B, width), in the precision of the expression; zeros after the last gene.

        Args:
            ctx: keeps what the gradients need.
            values: of the mask, float32 (B, genes).
            expression: float32 or bfloat16 (B, genes), rows of consecutive numbers; no gradient.
            scale: float32 (genes,).
            shift: float32 (genes,).
        """
        n_cells, n_genes = values.shape
        width = -(-n_genes // ALIGNED) * ALIGNED
        out = expression.new_empty(n_cells, width)
        tensors = values.contiguous(), expression, scale.contiguous(), shift.contiguous()
        _launch(_forward, width, *tensors, out)
        ctx.save_for_backward(*tensors)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        """Gradients of the mask, the scale and the shift."""
        values, _, scale, _ = ctx.saved_tensors
        out, parts = torch.empty_like(values), -(-len(values) // CELLS)
        of_scale, of_shift = scale.new_empty(2, parts, len(scale))
        tensors = (*ctx.saved_tensors, gradient.contiguous(), of_scale, of_shift, out)
        _launch(_backward, gradient.shape[1], *tensors)
        return out, None, of_scale.sum(dim=0), of_shift.sum(dim=0)


def _launch(kernel: Any, width: int, values: Tensor, expression: Tensor, *tensors: Tensor) -> None:
    """Runs a kernel over groups of columns and of cells."""
    n_cells, n_genes = values.shape
    with torch.cuda.device_of(values):
        kernel[(triton.cdiv(width, COLUMNS), triton.cdiv(n_cells, CELLS))](
            values,
            expression,
            *tensors,
            n_cells,
            APART=expression.stride(0),
            GENES=n_genes,
            WIDTH=width,
            COLUMNS=COLUMNS,
            CELLS=CELLS,
            num_warps=WARPS,
        )


@triton.jit
def _forward(
    values: tl.tensor,
    expression: tl.tensor,
    scale: tl.tensor,
    shift: tl.tensor,
    out: tl.tensor,
    n_cells: tl.tensor,
    APART: tl.constexpr,
    GENES: tl.constexpr,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    CELLS: tl.constexpr,
) -> None:
    at = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    a = tl.load(scale + at, mask=at < GENES, other=0.0)
    c = tl.load(shift + at, mask=at < GENES, other=0.0)
    first = tl.program_id(1).to(tl.int64) * CELLS
    for cell in range(first, tl.minimum(first + CELLS, n_cells)):
        p = tl.load(values + cell * GENES + at, mask=at < GENES, other=0.0)
        x = tl.load(expression + cell * APART + at, mask=at < GENES, other=0.0).to(tl.float32)
        made = p * (x * a + c)
        tl.store(out + cell * WIDTH + at, made.to(out.dtype.element_ty), mask=at < WIDTH)


@triton.jit
def _backward(
    values: tl.tensor,
    expression: tl.tensor,
    scale: tl.tensor,
    shift: tl.tensor,
    gradient: tl.tensor,
    of_scale: tl.tensor,
    of_shift: tl.tensor,
    out: tl.tensor,
    n_cells: tl.tensor,
    APART: tl.constexpr,
    GENES: tl.constexpr,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    CELLS: tl.constexpr,
) -> None:
    at = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    a = tl.load(scale + at, mask=at < GENES, other=0.0)
    c = tl.load(shift + at, mask=at < GENES, other=0.0)
    by_scale = tl.zeros((COLUMNS,), tl.float32)
    by_shift = tl.zeros((COLUMNS,), tl.float32)
    first = tl.program_id(1).to(tl.int64) * CELLS
    for cell in range(first, tl.minimum(first + CELLS, n_cells)):
        p = tl.load(values + cell * GENES + at, mask=at < GENES, other=0.0)
        x = tl.load(expression + cell * APART + at, mask=at < GENES, other=0.0).to(tl.float32)
        given = tl.load(gradient + cell * WIDTH + at, mask=at < GENES, other=0.0).to(tl.float32)
        by_shift += given * p
        by_scale += given * p * x
        tl.store(out + cell * GENES + at, given * (x * a + c), mask=at < GENES)
    place = tl.program_id(1) * GENES + at
    tl.store(of_scale + place, by_scale, mask=at < GENES)
    tl.store(of_shift + place, by_shift, mask=at < GENES)
