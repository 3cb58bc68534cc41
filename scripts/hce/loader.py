"""Batches of normalised expression from sparse counts."""

from collections.abc import Iterator

import numpy as np
import torch
from numba import njit

from hce.counts import Counts

# Counts are scaled to this total a cell before log1p, as in the paper ("CP10k").
TARGET_TOTAL = 10_000.0


@njit(nogil=True, cache=True)
def _densify(
    indptr: np.ndarray,
    genes: np.ndarray,
    values: np.ndarray,
    cells: np.ndarray,
    out: np.ndarray,
) -> None:
    """Writes log1p(counts × 10,000 / total) of the given cells to dense rows."""
    for i in range(cells.shape[0]):
        row = out[i]
        row[:] = 0.0
        lo, hi = indptr[cells[i]], indptr[cells[i] + 1]
        total = 0.0
        for k in range(lo, hi):
            total += values[k]
        if total > 0.0:
            scale = TARGET_TOTAL / total
            for k in range(lo, hi):
                row[genes[k]] = np.float32(np.log1p(values[k] * scale))


class Batches:
    """Cells in host memory, handed out as dense batches.

    Args:
        counts: raw counts of the cells.
        labels: type index of each cell, integer (cells,).
        n_genes: width of a batch.
        batch_size: cells a batch.
        device: where batches go.
    """

    def __init__(
        self,
        counts: Counts,
        labels: np.ndarray,
        n_genes: int,
        batch_size: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.counts = counts
        self.batch_size = batch_size
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.device = torch.device(device)
        # One buffer for all batches: fresh pages for each would cost more than filling them.
        self._buffer = np.empty((min(batch_size, len(counts)), n_genes), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.counts)

    def shuffled(self, rng: np.random.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """One epoch in random order; a last batch that is not full is dropped, as published."""
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
        rows = self._buffer[: len(cells)]
        _densify(self.counts.indptr, self.counts.genes, self.counts.values, cells, rows)
        labels = self.labels[torch.from_numpy(cells)]
        return torch.from_numpy(rows).to(self.device), labels.to(self.device)
