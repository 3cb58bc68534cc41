"""Batches of cells that stay on disk: for stores that do not fit into memory.

A store is shuffled on disk already. An epoch reads every shard, or of several processes each those
of its part, once and whole, in random order and a few at a time, draws record batches from those
that are at hand, decodes each cell straight to a random place of a buffer, with all cores, and
hands the buffer out as batches, while the next one is filled. What memory it takes depends on the
buffer and not on the store.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from hce.batches.densify import Augmentation
from hce.batches.in_memory import Batch, BatchSource, Feed, SparseBatch, prefetched
from hce.batches.part import WHOLE, Part
from hce.store.cell_store import CellStore
from hce.store.counts import Counts
from hce.store.encoding import cell_bounds, decode_into, decode_rows
from hce.store.shards import damaged, open_shard

# Shards whose record batches are shuffled among each other, of 90 MB at 2,500 genes a cell.
OPEN_SHARDS = 4
# Cells that are shuffled together: about 0.3 GB at 2,500 genes a cell, three times that while the
# next ones are read.
BUFFER_CELLS = 32_768


@dataclass(frozen=True)
class _Block:
    """A record batch of a store: shard number, its place there, and the cells that are wanted.

    Attributes:
        shard: number of the shard among those that are read.
        number: of the record batch in it.
        first_cell: position in the store of its first cell.
        rows: of the cells that are this process's, int64, ascending.
        whole: whether these are all its cells.
    """

    shard: int
    number: int
    first_cell: int
    rows: np.ndarray
    whole: bool


_Read = tuple[_Block, "Future[pa.RecordBatch]"]


class StreamedBatches(BatchSource):
    """Cells of a store, read as they are needed and handed out as batches.

    Args:
        store: the store.
        labels: type index of each cell, integer (cells,).
        batch_size: cells a batch.
        device: where batches go.
        dtype: of the batches, float32 or bfloat16.
        augmentation: of the shuffled cells, on the device; None for none.
        buffer_cells: cells that are in memory at a time, at least one record batch.
        sparse: whether batches on the CPU may be split.
        part: what is this process's; shards without any of it are not read.

    Raises:
        UserError: a shard is missing or damaged.
    """

    def __init__(
        self,
        store: CellStore,
        labels: np.ndarray,
        batch_size: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        augmentation: Augmentation | None = None,
        buffer_cells: int = BUFFER_CELLS,
        sparse: bool = False,
        part: Part = WHOLE,
    ) -> None:
        super().__init__(labels, batch_size, part)
        self._labels = self.labels
        self._own = part.cells(len(store))
        self.labels = self._labels[torch.from_numpy(self._own)]
        self.store = store
        self.augmentation = augmentation
        self._buffer_cells = buffer_cells
        self._shards = list(store.shards(self._own))
        self._blocks = list(self._list_blocks())
        n_genes = len(store.manifest["genes"]["feature_id"])
        self._size = max(min(part.of_batch(batch_size), len(self._own)), 1)
        self._feed = Feed(
            n_genes, self._size, torch.device(device), dtype, augmentation, sparse=sparse
        )
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
        # Genes and values of the buffer that is handed out and of the one that is being filled;
        # kept, since fresh pages would cost more than the decoding.
        self._spaces = [np.empty((2, 0), dtype=np.uint16) for _ in range(2)]

    def shuffled(self, rng: np.random.Generator, skip: int = 0) -> Iterator[Batch]:
        """See BatchSource."""
        self._check_size()
        rng = self.part.random(rng)
        shifts = None if self.augmentation is None else self.augmentation.draw(rng, len(self._own))
        last = len(self) // self.batch_size  # the same of every part
        return self._feed(islice(self._batches(self.sparse(rng), shifts), skip, last))

    def in_order(self) -> Iterator[Batch]:
        """See BatchSource."""
        buffers = prefetched(self._buffers(rng=None))
        return self._feed(self._batches(_rebatch(buffers, self._size, drop_last=False), None))

    def sparse(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, Counts]]:
        """One epoch in random order, as sparse batches; what `shuffled` makes dense.

        Yields:
            Positions of the cells in the store, int64 (b,), and their values. Valid until the next
            batch is asked for.
        """
        buffers = prefetched(self._buffers(rng))
        yield from _rebatch(buffers, self._size, drop_last=True)

    def _batches(
        self, sparse: Iterator[tuple[np.ndarray, Counts]], shifts: np.ndarray | None
    ) -> Iterator[SparseBatch]:
        """Adds labels, and shifts in the order in which the cells come."""
        first = 0
        for cells, counts in sparse:
            some = None if shifts is None else shifts[first : first + len(cells)]
            first += len(cells)
            labels = self._labels[torch.from_numpy(cells)]
            yield SparseBatch(counts, np.arange(len(cells)), labels, some)

    def _list_blocks(self) -> Iterator[_Block]:
        ids = self.store.cells(["soma_joinid"])["soma_joinid"].to_numpy()
        for shard, (start, entry) in enumerate(self._shards):
            file, first, keys = self._file(shard), start, []
            with open_shard(file, columns=[0]) as reader:
                for number in range(reader.num_record_batches):
                    batch = reader.get_batch(number)
                    batch.validate()  # the shard is not held to its checksum yet
                    keys.append(batch.column(0).to_numpy())
                    place, end = np.searchsorted(self._own, [first, first + len(batch)])
                    if place < end:
                        rows = self._own[place:end] - first
                        yield _Block(shard, number, first, rows, len(rows) == len(batch))
                    first += len(batch)
            found = np.concatenate([np.empty(0, ids.dtype), *keys])
            self.store.check_keys(file, found, ids[start : start + entry["cells"]])

    def _file(self, shard: int) -> Path:
        return self.store.path / self._shards[shard][1]["file"]

    def _buffers(self, rng: np.random.Generator | None) -> Iterator[tuple[np.ndarray, Counts]]:
        """All record batches, a buffer at a time; in random order with an rng."""
        group: list[_Read] = []
        for block, batch in self._read(rng):
            if group and sum(len(b.rows) for b, _ in [*group, (block, 0)]) > self._buffer_cells:
                yield self._fill(group, rng)
                group = []
            group.append((block, batch))
        if group:
            yield self._fill(group, rng)

    def _read(self, rng: np.random.Generator | None) -> Iterator[_Read]:
        """Reads every shard once; with an rng, record batches are drawn from a few at a time."""
        of_shard: dict[int, list[_Block]] = {}
        for block in self._blocks:
            of_shard.setdefault(block.shard, []).append(block)
        shards = list(of_shard) if rng is None else rng.permutation(list(of_shard)).tolist()
        at_hand: list[Iterator[_Read]] = []
        while shards or at_hand:
            while shards and len(at_hand) < (1 if rng is None else OPEN_SHARDS):
                blocks = of_shard[shards.pop(0)]
                order = range(len(blocks)) if rng is None else rng.permutation(len(blocks))
                at_hand.append(self._read_shard([blocks[i] for i in order]))
            number = 0 if rng is None else int(rng.integers(len(at_hand)))
            if (found := next(at_hand[number], None)) is None:
                del at_hand[number]
            else:
                yield found

    def _read_shard(self, blocks: Sequence[_Block]) -> Iterator[_Read]:
        """Record batches of one shard, in the given order; threads unpack them meanwhile."""
        shard = blocks[0].shard
        expected = self._shards[shard][1].get("crc32c")
        with open_shard(self._file(shard), at_once=True, expected=expected) as reader:
            pending: list[Future[pa.RecordBatch]] = []
            try:
                for block in blocks:
                    pending = [batch for batch in pending if not batch.done()]
                    pending.append(self._threads.submit(reader.get_batch, block.number))
                    yield block, pending[-1]
            finally:
                wait(pending)  # the shard is closed next

    def _unpacked(self, block: _Block, batch: "Future[pa.RecordBatch]") -> pa.RecordBatch:
        try:
            return batch.result()
        except (pa.ArrowException, OSError) as error:
            raise damaged(self._file(block.shard), error) from error

    def _fill(
        self, group: list[_Read], rng: np.random.Generator | None
    ) -> tuple[np.ndarray, Counts]:
        """Positions and values of the cells of some record batches."""
        batches = [self._unpacked(block, batch) for block, batch in group]
        cells = np.concatenate([block.first_cell + block.rows for block, _ in group])
        order = np.arange(len(cells)) if rng is None else rng.permutation(len(cells))
        if self.store.manifest["values"] != "counts" or not all(block.whole for block, _ in group):
            decoded = list(self._threads.map(decode_rows, batches, [b.rows for b, _ in group]))
            return cells[order], Counts.concatenate(decoded).take(order)
        # Cell order[i] goes to place i.
        lengths = np.concatenate([np.diff(cell_bounds(batch)) for batch in batches])
        indptr = np.zeros(len(cells) + 1, dtype=np.int64)
        np.cumsum(lengths[order], out=indptr[1:])
        space = self._spaces.pop(0)
        if indptr[-1] > space.shape[1]:
            space = np.empty((2, indptr[-1] + indptr[-1] // 8), dtype=np.uint16)
        self._spaces.append(space)
        genes, values = space
        starts = np.empty(len(cells), dtype=np.int64)
        starts[order] = indptr[:-1]

        def decode(batch: pa.RecordBatch, own: np.ndarray) -> None:
            decode_into(batch, own, genes, values)

        ends = np.cumsum([len(batch) for batch in batches])
        list(self._threads.map(decode, batches, np.split(starts, ends[:-1])))
        nonzeros = slice(0, indptr[-1])
        return cells[order], Counts(indptr, genes[nonzeros], values[nonzeros])


def _rebatch(
    buffers: Iterator[tuple[np.ndarray, Counts]], size: int, drop_last: bool
) -> Iterator[tuple[np.ndarray, Counts]]:
    """Cuts buffers into batches of one size; the rest of one begins the first batch of the next."""
    rest_cells, rest = np.empty(0, np.int64), None
    for cells, counts in buffers:
        start = 0
        if rest is not None:
            start = min(size - len(rest_cells), len(cells))
            joined = Counts.concatenate([rest, counts.slice(0, start)])
            rest_cells, rest = np.concatenate([rest_cells, cells[:start]]), joined
            if len(rest_cells) < size:
                continue
            yield rest_cells, rest
        stop = start + (len(cells) - start) // size * size
        for first in range(start, stop, size):
            yield cells[first : first + size], counts.slice(first, first + size)
        rest_cells, rest = np.empty(0, np.int64), None
        if stop < len(cells):
            # A copy: the buffer is filled anew next.
            rest_cells, rest = cells[stop:], counts.take(np.arange(stop, len(cells)))
    if rest is not None and not drop_last:
        yield rest_cells, rest
