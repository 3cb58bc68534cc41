"""Batches in one kernel on a GPU: rows are gathered, normalised, shifted and written at once.

Importing this module needs Triton. With TRITON_INTERPRET=1 in the environment, the kernel runs on
the CPU, slowly, for tests.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from hce.batches.densify import LARGEST, Augmentation, SparseCells
from hce.batches.rows import aligned_rows
from hce.store.counts import TARGET_TOTAL

# Non-zeros and genes that a program handles at a time. Of pinned host memory, blocks of 512 or
# 2,048 non-zeros were read at a fifth of the speed (one H200).
NONZEROS_AT_ONCE = 1024
GENES_AT_ONCE = 4096
WARPS = 8


class KernelDensifier:
    """Makes rows of some cells dense, in one kernel; the numbers are those of `Densifier`.

    Logarithms, and so the rows, may differ from the CPU's in the last bits.

    Args:
        cells: where the device can read them: `indptr` in its memory, the others there or in pinned
            host memory.
        n_genes: width of a batch.
        batch_size: cells a batch at most.
        dtype: of the batches, float32 or bfloat16.
        augmentation: None for none; on the device.
    """

    def __init__(
        self,
        cells: SparseCells,
        n_genes: int,
        batch_size: int,
        dtype: torch.dtype,
        augmentation: Augmentation | None,
    ) -> None:
        self.cells = cells
        self.augmentation = augmentation
        self._buffer = aligned_rows(batch_size, n_genes, dtype, cells.indptr.device)

    def __call__(self, chosen: Tensor, shifts: Tensor | None) -> Tensor:
        """Dense rows, (b, genes), until the next call; the device is not waited for.

        Args:
            chosen: positions of the cells, int64 (b,), contiguous, on the device.
            shifts: of `Augmentation.draw`, int64 (b,), contiguous, on the device; or None.
        """
        out, vectors = self._buffer[: len(chosen)], None
        if shifts is not None:
            assert self.augmentation is not None
            vectors = self.augmentation.vectors
        with torch.cuda.device_of(out):
            _write_rows[(len(chosen),)](
                *self.cells.tensors(),
                chosen,
                shifts,
                vectors,
                out,
                1 if vectors is None else len(vectors),
                GENES=out.shape[1],
                APART=out.stride(0),
                RAW=self.cells.values.dtype == torch.int16,
                SHIFTED=shifts is not None,
                TOTAL=TARGET_TOTAL,
                TOP=LARGEST,
                NONZEROS_AT_ONCE=NONZEROS_AT_ONCE,
                GENES_AT_ONCE=GENES_AT_ONCE,
                num_warps=WARPS,
            )
        return out


@triton.jit
def _write_rows(
    indptr: tl.tensor,
    genes: tl.tensor,
    values: tl.tensor,
    chosen: tl.tensor,
    shifts: tl.tensor,
    vectors: tl.tensor,
    out: tl.tensor,
    n_vectors: tl.tensor,
    GENES: tl.constexpr,
    APART: tl.constexpr,
    RAW: tl.constexpr,
    SHIFTED: tl.constexpr,
    TOTAL: tl.constexpr,
    TOP: tl.constexpr,
    NONZEROS_AT_ONCE: tl.constexpr,
    GENES_AT_ONCE: tl.constexpr,
) -> None:
    """Writes the row of a cell; a program each. Without shifts, those and vectors are None."""
    i = tl.program_id(0).to(tl.int64)
    cell = tl.load(chosen + i)
    lo, hi = tl.load(indptr + cell), tl.load(indptr + cell + 1)
    row = out + i * APART
    if SHIFTED:
        shift = tl.load(shifts + i)
        sign = tl.where(shift < n_vectors, 1.0, -1.0)
        vector = vectors + (shift % n_vectors) * GENES
    for first in range(0, APART, GENES_AT_ONCE):  # genes without counts, and zeros after the last
        at = first + tl.arange(0, GENES_AT_ONCE)
        background = tl.zeros((GENES_AT_ONCE,), tl.float32)
        if SHIFTED:
            by = sign * tl.load(vector + at, mask=at < GENES, other=0.0)
            background = tl.minimum(tl.maximum(by, 0.0), TOP)
        tl.store(row + at, background.to(out.dtype.element_ty), mask=at < APART)
    scale = 1.0
    if RAW:
        sums = tl.zeros((NONZEROS_AT_ONCE,), tl.int64)  # a sum may be above 2³²
        for first in range(lo, hi, NONZEROS_AT_ONCE):
            at = first + tl.arange(0, NONZEROS_AT_ONCE)
            sums += tl.load(values + at, mask=at < hi, other=0).to(tl.int64) & 0xFFFF
        total = tl.maximum(tl.sum(sums), 1)
        # In float64 and then to float32, as numpy's 10,000 / total.
        scale = (TOTAL / total.to(tl.float64)).to(tl.float32)
    tl.debug_barrier()  # the background is written before the values over it
    for first in range(lo, hi, NONZEROS_AT_ONCE):
        at = first + tl.arange(0, NONZEROS_AT_ONCE)
        gene = tl.load(genes + at, mask=at < hi, other=0).to(tl.int32) & 0xFFFF
        x = tl.load(values + at, mask=at < hi, other=0)
        if RAW:
            x = tl.log(1.0 + (x.to(tl.int32) & 0xFFFF).to(tl.float32) * scale)
        if SHIFTED:
            by = sign * tl.load(vector + gene, mask=at < hi, other=0.0)
            x = tl.minimum(tl.maximum(x + by, 0.0), TOP)
        tl.store(row + gene, x.to(out.dtype.element_ty), mask=at < hi)
