"""Counts to batches: normalised, augmented, in the precision that the model takes, mostly dense.

Twice the same arithmetic: compiled loops for batches on the processor, and tensor operations for
batches on a GPU, which gets the sparse cells (a tenth of the bytes) and does the rest itself. Both
give the same numbers.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numba import njit
from torch import Tensor

from hce.errors import UserError
from hce.store.counts import TARGET_TOTAL, Counts

# What is used of them, their parts and shape, is settled.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")

# Counts are scaled to this total a cell before log1p, as in the paper ("CP10k").
# Augmented expression stays between 0 and this; log1p of 10,000 is 9.2.
LARGEST = 9.0
# Batches stay sparse, for models that take them, up to this share of non-zeros. The sparse products
# are faster up to a share of 0.1 (2,000 genes, 40 types) to 0.2 and more (8,000 genes, 164 types).
SPARSE_SHARE = 0.15


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
    """Makes batches dense on the processor, but for those that may stay sparse.

    Args:
        n_genes: width of a batch.
        batch_size: cells a batch at most.
        dtype: of the batches, float32 or bfloat16.
        augmentation: None for none; on the CPU.
        buffers: batches that are valid at a time.
        sparse: whether batches that are mostly zeros and not augmented may stay sparse.
    """

    def __init__(
        self,
        n_genes: int,
        batch_size: int,
        dtype: torch.dtype = torch.float32,
        augmentation: Augmentation | None = None,
        buffers: int = 1,
        sparse: bool = False,
    ) -> None:
        self.augmentation = augmentation
        # Buffers for all batches: fresh pages for each would cost more than filling them.
        self._buffers = [torch.empty(batch_size, n_genes, dtype=dtype) for _ in range(buffers)]
        self._plain = torch.zeros(1, n_genes, dtype=dtype)
        self._sparse = sparse

    def __call__(self, counts: Counts, cells: np.ndarray, shifts: np.ndarray | None) -> Tensor:
        """Rows of some cells.

        Args:
            counts: raw ones are normalised, normalised ones taken as they are.
            cells: positions of the cells, int64 (b,).
            shifts: of `Augmentation.draw`, int64 (b,), or None to leave the cells as they are.

        Returns:
            log1p of counts per 10,000, (b, genes), until the buffer's next turn; or sparse (CSR,
            int32 indices).
        """
        if self._sparse and shifts is None:
            nonzeros = int((counts.indptr[cells + 1] - counts.indptr[cells]).sum())
            if nonzeros <= SPARSE_SHARE * len(cells) * self._plain.shape[1]:
                return self._compressed(counts, cells)
        self._buffers.append(buffer := self._buffers.pop(0))
        rows = buffer[: len(cells)]
        starts, values = counts.indptr[cells], counts.values
        if counts.kind == "counts" or shifts is not None:
            starts, values = _normalise(counts, cells)
        background, chosen = self._plain, np.zeros(len(cells), dtype=np.int64)
        if shifts is not None:
            assert self.augmentation is not None
            background, chosen = self.augmentation.background, shifts
            vectors = self.augmentation.vectors.numpy()
            _shift(counts.indptr, counts.genes, cells, starts, vectors, shifts, values)
        bits = _bits(torch.from_numpy(values).to(rows.dtype))
        _scatter(
            counts.indptr, counts.genes, cells, starts, bits, _bits(background), chosen, _bits(rows)
        )
        return rows

    def _compressed(self, counts: Counts, cells: np.ndarray) -> Tensor:
        indptr, values = _normalise(counts, cells)
        genes = np.empty(len(values), dtype=np.int32)
        _gather_genes(counts.indptr, counts.genes, cells, indptr, genes)
        return torch.sparse_csr_tensor(
            torch.from_numpy(indptr.astype(np.int32)),
            torch.from_numpy(genes),
            torch.from_numpy(values).to(self._plain.dtype),
            size=(len(cells), self._plain.shape[1]),
            check_invariants=False,  # genes ascend and are in range in every store
        )


def _normalise(counts: Counts, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each of some cells begins, int64 (b + 1), and their values, one after the other."""
    ends = np.cumsum(counts.indptr[cells + 1] - counts.indptr[cells])
    starts = np.concatenate([[0], ends])
    values = np.empty(starts[-1], dtype=np.float32)
    raw = counts.kind == "counts"
    _gather(counts.indptr, counts.values, cells, starts, raw, values)
    if raw:  # log1p on the non-zeros alone, by torch's vector instructions
        torch.from_numpy(values).log1p_()
    return starts, values


def _bits(tensor: Tensor) -> np.ndarray:
    """A tensor as an array that shares its memory; numpy has no bfloat16, so as int16 then."""
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


# The loops below run over slices: reading positions from arrays that could overlap with what is
# written would keep the compiler from vector instructions.
@njit(nogil=True, cache=True)
def _gather(
    indptr: np.ndarray,
    values: np.ndarray,
    cells: np.ndarray,
    starts: np.ndarray,
    raw: bool,
    out: np.ndarray,
) -> None:
    """Writes the values of some cells one after the other, raw ones × 10,000 / total."""
    for i in range(cells.shape[0]):
        own, to = values[indptr[cells[i]] : indptr[cells[i] + 1]], out[starts[i] : starts[i + 1]]
        scale = np.float32(1)
        if raw:
            total = np.int64(0)
            for value in own:
                total += np.int64(value)
            scale = np.float32(TARGET_TOTAL / (total if total > 0 else 1))
        for k in range(own.shape[0]):
            to[k] = np.float32(own[k]) * scale


@njit(nogil=True, cache=True)
def _gather_genes(
    indptr: np.ndarray, genes: np.ndarray, cells: np.ndarray, starts: np.ndarray, out: np.ndarray
) -> None:
    """Writes the genes of some cells one after the other."""
    for i in range(cells.shape[0]):
        own, to = genes[indptr[cells[i]] : indptr[cells[i] + 1]], out[starts[i] : starts[i + 1]]
        for k in range(own.shape[0]):
            to[k] = own[k]


@njit(nogil=True, cache=True)
def _shift(
    indptr: np.ndarray,
    genes: np.ndarray,
    cells: np.ndarray,
    starts: np.ndarray,
    vectors: np.ndarray,
    shifts: np.ndarray,
    expression: np.ndarray,
) -> None:
    """Shifts the values that `_gather` wrote."""
    for i in range(cells.shape[0]):
        own = genes[indptr[cells[i]] : indptr[cells[i] + 1]]
        to = expression[starts[i] : starts[i] + own.shape[0]]
        vector = vectors[shifts[i] % vectors.shape[0]]
        sign = np.float32(1 if shifts[i] < vectors.shape[0] else -1)
        for k in range(own.shape[0]):
            shifted = to[k] + sign * vector[own[k]]
            to[k] = min(max(shifted, np.float32(0)), np.float32(LARGEST))


@njit(nogil=True, cache=True)
def _scatter(
    indptr: np.ndarray,
    genes: np.ndarray,
    cells: np.ndarray,
    starts: np.ndarray,
    expression: np.ndarray,
    background: np.ndarray,
    chosen: np.ndarray,
    out: np.ndarray,
) -> None:
    """Spreads the values of some cells over dense rows of background."""
    for i in range(cells.shape[0]):
        row = out[i]
        row[:] = background[chosen[i]]
        own = genes[indptr[cells[i]] : indptr[cells[i] + 1]]
        values = expression[starts[i] : starts[i] + own.shape[0]]
        for k in range(own.shape[0]):
            row[own[k]] = values[k]


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
        self._buffer = torch.empty(batch_size, n_genes, dtype=dtype, device=device)

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
