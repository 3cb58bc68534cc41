"""Batches of normalised expression from sparse counts."""

from collections.abc import Iterator

import numpy as np
import torch
from numba import njit

from hce.counts import Counts
from hce.errors import UserError

# Counts are scaled to this total a cell before log1p, as in the paper ("CP10k").
TARGET_TOTAL = 10_000.0


@njit(nogil=True, cache=True)
def _scale(
    indptr: np.ndarray,
    values: np.ndarray,
    cells: np.ndarray,
    starts: np.ndarray,
    out: np.ndarray,
) -> None:
    """Writes counts × 10,000 / total of the given cells one after the other."""
    for i in range(cells.shape[0]):
        lo, hi = indptr[cells[i]], indptr[cells[i] + 1]
        total = np.int64(0)
        for k in range(lo, hi):
            total += np.int64(values[k])
        scale = np.float32(TARGET_TOTAL / (total if total > 0 else 1))
        for k in range(hi - lo):
            out[starts[i] + k] = np.float32(values[lo + k]) * scale


@njit(nogil=True, cache=True)
def _scatter(
    indptr: np.ndarray,
    genes: np.ndarray,
    cells: np.ndarray,
    starts: np.ndarray,
    expression: np.ndarray,
    out: np.ndarray,
) -> None:
    """Spreads the values of the given cells over dense rows."""
    for i in range(cells.shape[0]):
        row = out[i]
        row[:] = 0.0
        lo = indptr[cells[i]]
        for k in range(indptr[cells[i] + 1] - lo):
            row[genes[lo + k]] = expression[starts[i] + k]


def fill_dense(counts: Counts, cells: np.ndarray, out: np.ndarray) -> None:
    """Writes cells as dense rows of log1p of counts per 10,000.

    Args:
        counts: raw ones are normalised, normalised ones taken as they are.
        cells: positions of the cells, integer (b,).
        out: float32 (b, genes), overwritten.
    """
    starts, values = counts.indptr[cells], counts.values
    if counts.kind == "counts":
        ends = np.cumsum(counts.indptr[cells + 1] - starts)
        starts = np.concatenate([[0], ends[:-1]])
        values = np.empty(ends[-1], dtype=np.float32)
        # log1p on the non-zeros alone, by torch's vector instructions.
        _scale(counts.indptr, counts.values, cells, starts, values)
        torch.from_numpy(values).log1p_()
    _scatter(counts.indptr, counts.genes, cells, starts, values, out)


class Batches:
    """Cells in host memory, handed out as dense batches.

    Args:
        counts: of the cells; raw ones are normalised, normalised ones taken as they are.
        labels: type index of each cell, integer (cells,).
        n_genes: width of a batch.
        batch_size: cells a batch.
        device: where batches go.
        part: number of this process, and of all that train together; of each batch, the cells of
            this process are handed out.
    """

    def __init__(
        self,
        counts: Counts,
        labels: np.ndarray,
        n_genes: int,
        batch_size: int,
        device: torch.device | str = "cpu",
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.counts = counts
        self.batch_size = batch_size
        self.part = part
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.device = torch.device(device)
        # One buffer for all batches: fresh pages for each would cost more than filling them.
        self._buffer = np.empty((min(batch_size, len(counts)), n_genes), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.counts)

    def shuffled(self, rng: np.random.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """One epoch in random order; a last batch that is not full is dropped, as published.

        Raises:
            UserError: there are fewer cells than a batch.
        """
        if len(self) < self.batch_size:
            raise UserError(
                f"There are {len(self):,} training cells, fewer than training.batch_size = "
                f"{self.batch_size:,}: lower it."
            )
        order = rng.permutation(len(self))
        size = len(self._buffer)
        for start in range(0, len(self) - size + 1, size):
            yield self._batch(order[start : start + size])

    def in_order(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All cells in order.

        Yields:
            expression, float32 (b, genes), log1p of counts per 10,000, and labels, int64 (b,).
            Valid until the next batch is asked for: batches share one buffer.
        """
        for start in range(0, len(self), len(self._buffer)):
            yield self._batch(np.arange(start, min(start + len(self._buffer), len(self))))

    def _batch(self, cells: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        rank, size = self.part
        cells = cells[rank::size]
        rows = self._buffer[: len(cells)]
        fill_dense(self.counts, cells, rows)
        labels = self.labels[torch.from_numpy(cells)]
        return torch.from_numpy(rows).to(self.device), labels.to(self.device)
