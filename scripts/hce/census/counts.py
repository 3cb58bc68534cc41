"""Streams counts of a release slab by slab, in bounded memory."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from hce.census.release import (
    ORGANISM,
    Release,
    open_release,
    positions_of_genes,
    read_genes,
)
from hce.census.retry import read_again
from hce.errors import UserError
from hce.store.counts import MAX_COUNT, Counts, keep_runs, place_runs, sort_genes

# Cells read at a time: one tile of X, starting at the start of a tile, so that no tile is read
# twice. Larger slabs need more memory and are not faster.
SLAB = 2048
COLUMNS = ("soma_dim_0", "soma_dim_1", "soma_data")
# What is kept of a batch of X, a fifth of its bytes: see `keep_runs`.
Runs = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass
class CountsReader:
    """Streams the counts of selected cells and genes of a release.

    Reads contiguous slabs of cells in storage order and sorts each into rows by counting. This is
    several times faster than reading an AnnData, and memory is bounded.

    Attributes:
        release: the open release.
        genes: soma_joinids of the genes, in column order; −1 for a gene that the release lacks.
        prefetch: slabs read ahead.
    """

    release: Release
    genes: np.ndarray
    prefetch: int = 2
    _array: Any = field(init=False, repr=False)
    _column_of: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._array = self.release.part("census_data", ORGANISM, "ms", "RNA", "X", "raw")
        self._column_of = np.full(self._array.shape[1], -1, dtype=np.int32)
        present = np.flatnonzero(self.genes >= 0)
        self._column_of[self.genes[present]] = present

    def blocks(self, cells: np.ndarray) -> Iterator[tuple[np.ndarray, Counts]]:
        """Yields the counts slab by slab.

        If reading a slab fails, it is tried again as `Release.connection` specifies.

        Args:
            cells: soma_joinids, ascending and unique.

        Yields:
            soma_joinids (ascending) and their counts.

        Raises:
            UserError: a value is not an integer between 0 and 65,535, or a slab cannot be read.
        """
        slabs = np.split(cells, np.flatnonzero(np.diff(cells // SLAB)) + 1) if len(cells) else []
        pool = ThreadPoolExecutor(self.prefetch)
        try:
            pending = [pool.submit(self._read, slab) for slab in slabs[: self.prefetch]]
            for i, slab in enumerate(slabs):
                counts = pending.pop(0).result()
                if i + self.prefetch < len(slabs):
                    pending.append(pool.submit(self._read, slabs[i + self.prefetch]))
                yield slab, counts
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, slab: np.ndarray) -> Counts:
        """Counts of the cells of a slab."""
        first, last = self._span(slab)
        row_of = np.full(last - first + 1, -1, dtype=np.int32)
        row_of[slab - first] = np.arange(len(slab), dtype=np.int32)

        def read(array: Any) -> list[Runs]:
            # Each batch at once: the next one takes its memory, which is then still in the cache.
            return [
                self._keep(batch, first, row_of)
                for table in array.read((slice(first, last),)).tables()
                for batch in table.to_batches()
            ]

        what = f"the counts of soma_joinid {slab[0]} to {slab[-1]}"
        batches, self._array = read_again(self._array, read, what, self.release.connection)
        return self._rows(slab, batches)

    def _span(self, slab: np.ndarray) -> tuple[int, int]:
        """The first and the last cell to read: all of a tile if most of it is needed.

        Of a tile that is not read as a whole, TileDB compares every coordinate with the range.
        """
        first, last = int(slab[0]), int(slab[-1])
        if last - first < SLAB * 3 // 4:
            return first, last
        start = first // SLAB * SLAB
        return start, min(start + SLAB, self._array.shape[0]) - 1

    def _keep(self, batch: pa.RecordBatch, first: int, row_of: np.ndarray) -> Runs:
        """The wanted entries of a batch, in storage order, with 4 bytes instead of 20 each."""
        rows, columns, data = (batch.column(name).to_numpy() for name in COLUMNS)
        run_rows, run_stops = np.empty((2, len(rows)), dtype=np.int32)
        genes, values = np.empty((2, len(rows)), dtype=np.uint16)
        given = rows, columns, data, first, row_of
        kept = run_rows, run_stops, genes, values
        if (runs := keep_runs(*given, self._column_of, *kept)) < 0:
            raise UserError(self._what_is_wrong(*given))
        return run_rows[:runs].copy(), run_stops[:runs].copy(), genes, values

    def _what_is_wrong(
        self,
        rows: np.ndarray,
        columns: np.ndarray,
        data: np.ndarray,
        first: int,
        row_of: np.ndarray,
    ) -> str:
        """The message about a batch that `keep_runs` does not take."""
        places, column_of = rows - first, self._column_of
        inside = (places >= 0) & (places < len(row_of)) & (columns >= 0)
        if not (inside & (columns < len(column_of))).all():
            return (
                f"{self._array.uri} holds coordinates outside of its cells and genes between "
                f"soma_joinid {first} and {first + len(row_of) - 1}: it is damaged; copy or make "
                "it again."
            )
        # Other cells between those of the slab may be of assays with larger values.
        wanted = (row_of[places] >= 0) & (column_of[columns] >= 0)
        is_count = (data >= 0) & (data <= MAX_COUNT) & (data == np.floor(data))
        bad = np.flatnonzero(wanted & ~is_count)[0]
        return (
            f"{self._array.uri} has values that are not raw counts: {data[bad]}, of the cell with "
            f"soma_joinid {rows[bad]}, is no raw count (an integer from 0 to {MAX_COUNT:,})."
        )

    def _rows(self, slab: np.ndarray, batches: list[Runs]) -> Counts:
        """Counting sort of kept entries into rows."""
        lengths = np.zeros(len(slab), dtype=np.int64)
        for rows, stops, _, _ in batches:
            np.add.at(lengths, rows, np.diff(stops, prepend=0))
        indptr = np.zeros(len(slab) + 1, dtype=np.int64)
        np.cumsum(lengths, out=indptr[1:])
        genes = np.empty(indptr[-1], dtype=np.uint16)
        values = np.empty(indptr[-1], dtype=np.uint16)
        cursor = indptr[:-1].copy()
        for runs in batches:
            place_runs(*runs, cursor, genes, values)
        if (cell := sort_genes(indptr, genes, values)) >= 0:
            raise UserError(
                f"{self._array.uri} holds a gene of the cell with soma_joinid {slab[cell]} twice: "
                "it was written twice, or is damaged; copy or make it again."
            )
        return Counts(indptr, genes, values)


def read_cells(release: str, uri: str, genes: pd.DataFrame, cells: np.ndarray) -> Counts:
    """Counts of some cells of a release, all in memory.

    Args:
        release: name of the release.
        uri: address of the release.
        genes: feature_id and feature_name, in column order.
        cells: soma_joinids, ascending and unique.

    Raises:
        UserError: see `open_release` and `CountsReader.blocks`.
    """
    with open_release(release, uri) as opened:
        positions = positions_of_genes(genes, read_genes(opened), release, min_share=0)
        reader = CountsReader(opened, positions)
        return Counts.concatenate([counts for _, counts in reader.blocks(cells)])


def part_of(cells: np.ndarray, number: int, parts: int) -> np.ndarray:
    """The cells of one of several jobs that share an export.

    Parts have about the same size; they end between slabs, so that no slab is read by two jobs. A
    part can be empty.

    Args:
        cells: soma_joinids of all parts, ascending and unique.
        number: number of the part, from 0.
        parts: number of parts.
    """
    starts = np.flatnonzero(np.diff(cells // SLAB, prepend=-1))
    bounds = [len(cells) * i // parts for i in (number, number + 1)]
    edges = np.append(starts, len(cells))
    low, high = edges[np.searchsorted(edges, bounds)]
    return cells[low:high]
