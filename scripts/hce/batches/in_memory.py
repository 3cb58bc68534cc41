"""Batches of normalised expression from counts in memory."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from hce.batches.densify import Augmentation, Densifier, SparseCells, TensorDensifier
from hce.batches.part import WHOLE, Part
from hce.batches.split import Expression, Splitter
from hce.errors import UserError
from hce.store.counts import Counts

Item = TypeVar("Item")
Batch = tuple[Expression, Tensor]
# Dense rows of some cells, given by position and shift, both on the device.
DenseRows = Callable[[Tensor, Tensor | None], Tensor]


class BatchSource(ABC):
    """Cells that are handed out as batches on a device.

    A batch is expression, (b, genes), log1p of counts per 10,000, and labels, int64 (b,). It is
    valid until the next one is asked for: batches share buffers. Expression is dense, but may be
    split where a source on the CPU was told that the model takes that.

    Attributes:
        labels: type index of each cell that this process holds, int64 (cells,), on the CPU.
        batch_size: cells a batch of all processes together.
        part: what is this process's; of each batch, its cells are handed out.
    """

    def __init__(self, labels: np.ndarray, batch_size: int, part: Part) -> None:
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.batch_size = batch_size
        self.part = part
        self._n_cells = len(labels)

    def __len__(self) -> int:
        """Cells of all processes together."""
        return self._n_cells

    @abstractmethod
    def shuffled(self, rng: np.random.Generator, skip: int = 0) -> Iterator[Batch]:
        """One epoch in random order; a last batch that is not full is dropped, as published.

        Args:
            rng: decides the order and the augmentation.
            skip: so many batches are left out at first, as if they had been taken.

        Raises:
            UserError: there are fewer cells than a batch.
        """

    @abstractmethod
    def in_order(self) -> Iterator[Batch]:
        """All cells in order, not augmented."""

    def _check_size(self) -> None:
        if len(self) < self.batch_size:
            raise UserError(
                f"There are {len(self):,} training cells, fewer than training.batch_size = "
                f"{self.batch_size:,}: lower it."
            )


class ShuffledCells(BatchSource):
    """Cells that are all in memory, of the host or the device: an epoch is a true global shuffle.

    Of several processes, each holds and shuffles its part alone. What a seed gives is the same
    wherever they are.

    Args:
        labels: type index of each cell, also of those of other processes, integer (cells,).
        batch_size: see BatchSource.
        part: see BatchSource.
    """

    augmentation: Augmentation | None

    def __init__(self, labels: np.ndarray, batch_size: int, part: Part) -> None:
        super().__init__(labels, batch_size, part)
        self.labels = self.labels[torch.from_numpy(part.cells(len(labels)))]
        self._own_batch = part.of_batch(batch_size)

    def shuffled(self, rng: np.random.Generator, skip: int = 0) -> Iterator[Batch]:
        """See BatchSource."""
        self._check_size()
        rng, n_cells = self.part.random(rng), len(self.labels)
        order = rng.permutation(n_cells)
        shifts = None if self.augmentation is None else self.augmentation.draw(rng, n_cells)
        last = len(self) // self.batch_size * self._own_batch  # the same of every part
        return self._batches(order[:last], shifts, skip * self._own_batch)

    def in_order(self) -> Iterator[Batch]:
        """See BatchSource."""
        return self._batches(np.arange(len(self.labels)), None, 0)

    @abstractmethod
    def _batches(self, order: np.ndarray, shifts: np.ndarray | None, start: int) -> Iterator[Batch]:
        """Batches of the cells in the given order from a start on; shifts are in that order too."""

    def _pieces(
        self, order: np.ndarray, shifts: np.ndarray | None, start: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        for first in range(start, len(order), self._own_batch):
            piece = slice(first, first + self._own_batch)
            yield order[piece], None if shifts is None else shifts[piece]


@dataclass(frozen=True)
class SparseBatch:
    """A batch before it is dense.

    Attributes:
        counts: holds the cells, perhaps among others.
        cells: positions of the cells in `counts`, int64 (b,).
        labels: int64 (b,).
        shifts: of `Augmentation.draw`, int64 (b,), or None.
    """

    counts: Counts
    cells: np.ndarray
    labels: Tensor
    shifts: np.ndarray | None


class Feed:
    """Makes batches from host memory dense, one ahead of the one that is in use.

    On the CPU they are made dense in a thread of its own. A GPU is sent sparse cells, from pinned
    memory and on a stream of its own, so that copies overlap with computing, and does the rest.

    Args:
        n_genes: width of a batch.
        batch_size: cells a batch at most.
        device: where batches go.
        dtype: of the batches, float32 or bfloat16.
        augmentation: None for none; on the device.
        sparse: whether batches on the CPU may be split.
    """

    def __init__(
        self,
        n_genes: int,
        batch_size: int,
        device: torch.device,
        dtype: torch.dtype,
        augmentation: Augmentation | None,
        sparse: bool = False,
    ) -> None:
        self.device = device
        self._densify: Densifier | Splitter | TensorDensifier
        if device.type != "cpu":
            self._densify = TensorDensifier(n_genes, batch_size, dtype, augmentation, device)
        else:
            dense = Densifier(n_genes, batch_size, dtype, augmentation, buffers=2)
            self._densify = Splitter(dense) if sparse else dense
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, batches: Iterable[SparseBatch]) -> Iterator[Batch]:
        """Dense batches on the device."""
        if not isinstance(self._densify, TensorDensifier):
            make = self._densify
            yield from prefetched((make(b.counts, b.cells, b.shifts), b.labels) for b in batches)
            return
        for (*parts, labels, shifts), copied in prefetched(self._copy(batch) for batch in batches):
            if copied is not None:
                current = torch.cuda.current_stream(self.device)
                current.wait_event(copied)
                for tensor in (*parts, labels, shifts):
                    if tensor is not None:  # its memory is free once this stream has used it
                        tensor.record_stream(current)
            yield self._densify(SparseCells(*parts), shifts), labels

    def _copy(self, batch: SparseBatch) -> tuple[list[Any], torch.cuda.Event | None]:
        """Parts of SparseCells, labels and shifts on the device, and when they are there."""
        counts, chosen = batch.counts, batch.cells
        if len(chosen) < len(counts) or (chosen != np.arange(len(chosen))).any():
            counts = counts.take(chosen)
        cells = SparseCells.of(counts)
        shifts = None if batch.shifts is None else torch.from_numpy(batch.shifts)
        tensors = [*cells.tensors(), batch.labels, shifts]
        if self._stream is None:
            return tensors, None
        with torch.cuda.stream(self._stream):
            copies = [
                None if tensor is None else tensor.pin_memory().to(self.device, non_blocking=True)
                for tensor in tensors
            ]
            return copies, self._stream.record_event()


class Batches(ShuffledCells):
    """Cells in host memory.

    Args:
        counts: of the cells of this process; raw ones are normalised, normalised ones taken as they
            are.
        labels: see ShuffledCells.
        n_genes: width of a batch.
        batch_size: cells a batch.
        device: where batches go.
        dtype: of the batches, float32 or bfloat16.
        augmentation: of the shuffled cells; None for none.
        sparse: whether batches on the CPU may be split.
        part: what is this process's.
    """

    def __init__(
        self,
        counts: Counts,
        labels: np.ndarray,
        n_genes: int,
        batch_size: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        augmentation: Augmentation | None = None,
        sparse: bool = False,
        part: Part = WHOLE,
    ) -> None:
        super().__init__(labels, batch_size, part)
        self.counts = counts
        self.augmentation = augmentation
        size = min(self._own_batch, len(counts))
        self._feed = Feed(n_genes, size, torch.device(device), dtype, augmentation, sparse=sparse)

    def _batches(self, order: np.ndarray, shifts: np.ndarray | None, start: int) -> Iterator[Batch]:
        return self._feed(
            SparseBatch(self.counts, cells, self.labels[torch.from_numpy(cells)], some)
            for cells, some in self._pieces(order, shifts, start)
        )


class ResidentBatches(ShuffledCells):
    """Cells that the device reads by itself: in its memory, or by a kernel in pinned host memory.

    Nothing but the order of the cells and their shifts is copied, once an epoch; within it the
    device is never waited for.

    Args:
        cells: of this process, on the device; where there is a kernel, all but `indptr` may be in
            pinned memory.
        labels: see ShuffledCells.
        n_genes: width of a batch.
        batch_size: cells a batch.
        dtype: of the batches, float32 or bfloat16.
        augmentation: of the shuffled cells, on the device; None for none.
        kernel: makes dense rows of these cells, see `device_cells.kernel_for`; None: tensor
            operations do.
        part: what is this process's.
    """

    def __init__(
        self,
        cells: SparseCells,
        labels: np.ndarray,
        n_genes: int,
        batch_size: int,
        dtype: torch.dtype = torch.float32,
        augmentation: Augmentation | None = None,
        kernel: DenseRows | None = None,
        part: Part = WHOLE,
    ) -> None:
        super().__init__(labels, batch_size, part)
        self.cells = cells
        self.augmentation = augmentation
        self._device = cells.indptr.device
        self._labels = self.labels.to(self._device)
        self._kernel = kernel
        if kernel is None:
            size = min(self._own_batch, len(self.labels))
            self._densify = TensorDensifier(n_genes, size, dtype, augmentation, self._device)
            # On the host, so that the size of a batch is known without waiting for the device.
            self._lengths = cells.indptr.cpu().diff().numpy()

    def _batches(self, order: np.ndarray, shifts: np.ndarray | None, start: int) -> Iterator[Batch]:
        pieces = list(self._pieces(order, shifts, start))
        if not pieces:
            return
        sizes = [len(cells) for cells, _ in pieces]
        chosen = self._copy([cells for cells, _ in pieces])
        labels = self._labels[chosen].split(sizes)
        by: Iterable[Tensor | None] = [None] * len(pieces)
        if shifts is not None:
            by = self._copy([some for _, some in pieces]).split(sizes)
        for (cells, _), own, some, y in zip(pieces, chosen.split(sizes), by, labels, strict=True):
            yield self._rows(cells, own, some), y

    def _copy(self, pieces: list[Any]) -> Tensor:
        return torch.from_numpy(np.concatenate(pieces)).to(self._device)

    def _rows(self, cells: np.ndarray, chosen: Tensor, shifts: Tensor | None) -> Tensor:
        """Dense rows of some cells, given on the host and on the device."""
        if self._kernel is not None:
            return self._kernel(chosen, shifts)
        taken = self.cells.take(chosen, int(self._lengths[cells].sum()))
        return self._densify(taken, shifts)


def prefetched(items: Iterator[Item]) -> Iterator[Item]:
    """Makes the next item in a thread while the caller uses one; so two are in use at a time."""
    end: Any = object()
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(next, items, end)
        while (item := future.result()) is not end:
            future = thread.submit(next, items, end)
            yield item
