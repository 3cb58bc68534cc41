"""Counts to batches: normalised, augmented, in the precision that the model takes, dense.

Twice the same arithmetic: compiled loops for batches on the processor, and tensor operations for
batches on a GPU, which gets the sparse cells (a tenth of the bytes) and does the rest itself. Both
give the same numbers.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hce.batches.normalise import Normalised, bits, write_rows
from hce.batches.rows import aligned_rows
from hce.errors import UserError
from hce.store.counts import TARGET_TOTAL, Counts

# Augmented expression stays between 0 and this; log1p of 10,000 is 9.2.
LARGEST = 9.0
NO_VECTORS = np.empty((0, 0), np.float32)


class Augmentation:
    """Random shifts of expression: clamp(x ± v, 0, 9), a cell one vector and one sign.

    Args:
        vectors: float32 (n, genes).
        dtype: of the batches.
        device: of the batches.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.vectors = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)).to(device)
        # What a shift makes of a gene without counts, with either sign.
        both = torch.cat([self.vectors, -self.vectors])
        self.background = both.clamp_(0, LARGEST).to(dtype)

    def draw(self, rng: np.random.Generator, n_cells: int) -> np.ndarray:
        """A shift for each cell, int64 (n_cells,): that of +v_i is i, that of −v_i is n + i."""
        return rng.integers(0, len(self.background), n_cells)


def read_vectors(path: str | Path, n_genes: int) -> np.ndarray:
    """Vectors of the augmentation, float32 (vectors, genes); none where none were possible.

    Raises:
        UserError: the file is none of vectors over these genes.
    """
    try:
        vectors: np.ndarray = np.load(path)
        fits = vectors.ndim == 2 and vectors.shape[1] == n_genes
    except (OSError, ValueError, AttributeError):
        fits = False
    if not fits or not np.isfinite(vectors).all():
        raise UserError(
            f"{path} holds no vectors of {n_genes:,} genes for the augmentation: delete it and run "
            "again to make it anew."
        )
    return vectors.astype(np.float32)


class Densifier:
    """Makes batches dense on the processor.

    Args:
        n_genes: width of a batch.
        batch_size: cells a batch at most.
        dtype: of the batches, float32 or bfloat16.
        augmentation: None for none; on the CPU.
        buffers: batches that are valid at a time.
    """

    def __init__(
        self,
        n_genes: int,
        batch_size: int,
        dtype: torch.dtype = torch.float32,
        augmentation: Augmentation | None = None,
        buffers: int = 1,
    ) -> None:
        self.augmentation = augmentation
        # Buffers for all batches: fresh pages for each would cost more than filling them.
        self.buffers = [torch.empty(batch_size, n_genes, dtype=dtype) for _ in range(buffers)]
        self._plain = torch.zeros(1, n_genes, dtype=dtype)

    def __call__(self, counts: Counts, cells: np.ndarray, shifts: np.ndarray | None) -> Tensor:
        """Rows of some cells.

        Args:
            counts: raw ones are normalised, normalised ones taken as they are.
            cells: positions of the cells, int64 (b,).
            shifts: of `Augmentation.draw`, int64 (b,), or None to leave the cells as they are.

        Returns:
            log1p of counts per 10,000, (b, genes), until the buffer's next turn.
        """
        self.buffers.append(buffer := self.buffers.pop(0))
        rows = buffer[: len(cells)]
        background, chosen, vectors = self._plain, np.zeros(len(cells), dtype=np.int64), NO_VECTORS
        if shifts is not None:
            assert self.augmentation is not None
            background, chosen = self.augmentation.background, shifts
            vectors = self.augmentation.vectors.numpy()
        normalised = Normalised.of(counts, cells)
        write_rows(
            *(counts.indptr, counts.genes, counts.values, cells),
            *(normalised.small, normalised.large, vectors),
            bits(background),
            chosen,
            LARGEST,
            bits(rows),
        )
        return rows


@dataclass(frozen=True)
class SparseCells:
    """Counts as tensors; torch computes little with unsigned 16 bits, so those are kept as int16.

    Attributes:
        indptr: int64 (cells + 1).
        genes: int16 (non-zeros), the bits of `Counts.genes`.
        values: int16 (non-zeros), the bits of `Counts.values`; or float32, normalised.
    """

    indptr: Tensor
    genes: Tensor
    values: Tensor

    @classmethod
    def of(cls, counts: Counts) -> "SparseCells":
        """Shares the memory of the counts."""
        values = counts.values.view(np.int16) if counts.kind == "counts" else counts.values
        parts = (counts.indptr, counts.genes.view(np.int16), values)
        return cls(*(torch.from_numpy(part) for part in parts))

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """All that has to be copied."""
        return self.indptr, self.genes, self.values

    def take(self, cells: Tensor, nonzeros: int) -> "SparseCells":
        """Some cells in the given order.

        Args:
            cells: their positions, int64 (b,).
            nonzeros: how many these cells have together.
        """
        starts = self.indptr[cells]
        indptr = _from_zero((self.indptr[cells + 1] - starts).cumsum(0))
        rows = _rows(indptr, nonzeros)
        places = torch.arange(len(rows), device=rows.device) + (starts - indptr[:-1])[rows]
        return SparseCells(indptr, self.genes[places], self.values[places])


def _from_zero(ends: Tensor) -> Tensor:
    """Ends of cells with the start of the first, 0, before them."""
    return torch.nn.functional.pad(ends, (1, 0))


def _rows(indptr: Tensor, nonzeros: int) -> Tensor:
    """The cell of each non-zero, int64; with their number, a GPU is not waited for."""
    numbers = torch.arange(len(indptr) - 1, device=indptr.device)
    return numbers.repeat_interleave(indptr.diff(), output_size=nonzeros)


class TensorDensifier:
    """Makes batches dense by tensor operations, on any device; else as `Densifier`."""

    def __init__(
        self,
        n_genes: int,
        batch_size: int,
        dtype: torch.dtype,
        augmentation: Augmentation | None,
        device: torch.device,
    ) -> None:
        self.augmentation = augmentation
        self._buffer = aligned_rows(batch_size, n_genes, dtype, device)

    def __call__(self, cells: SparseCells, shifts: Tensor | None) -> Tensor:
        """Dense rows, (b, genes), until the next call.

        Args:
            cells: on the device.
            shifts: of `Augmentation.draw`, int64 (b,), on the device; or None.
        """
        rows, genes = _rows(cells.indptr, len(cells.genes)), _unsigned(cells.genes)
        values = cells.values
        if values.dtype == torch.int16:
            counts = _unsigned(values)
            ends = _from_zero(counts.cumsum(0))[cells.indptr]
            # In float64 and then to float32, as numpy's 10,000 / total.
            scale = (TARGET_TOTAL / ends.diff().clamp_min(1).double()).float()
            values = (counts.float() * scale[rows]).log1p_()
        out = self._buffer[: len(cells.indptr) - 1]
        if shifts is None:
            out.zero_()
        else:
            assert self.augmentation is not None
            vectors, background = self.augmentation.vectors, self.augmentation.background
            torch.index_select(background, 0, shifts, out=out)
            sign = torch.where(shifts < len(vectors), 1.0, -1.0)
            by = vectors[(shifts % len(vectors))[rows], genes] * sign[rows]
            values = (values + by).clamp_(0, LARGEST)
        out[rows, genes] = values.to(out.dtype)
        return out


def _unsigned(bits: Tensor) -> Tensor:
    """The numbers, int64, whose 16 bits were kept as int16."""
    return bits.long() & 0xFFFF
