"""Sparse count matrices in compressed rows, 16 bits a gene and 16 bits a count.

scipy's CSR needs 32-bit column numbers and so twice the memory; a release has at most 65,536
genes, so 16 bits do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

MAX_GENES = 2**16
MAX_COUNT = 2**16 - 1  # of a store
# Normalised values are log1p of counts scaled to this sum over the genes of a cell.
TARGET_TOTAL = 10_000.0


@dataclass(frozen=True)
class Counts:
    """Counts of cells by genes.

    Attributes:
        indptr: int64 (cells + 1), where each cell begins in the other two arrays.
        genes: uint16 (non-zeros), gene index, ascending within a cell.
        values: uint16 (non-zeros), the count; or float32 where counts are normalised already:
            log1p of counts per 10,000.
    """

    indptr: np.ndarray
    genes: np.ndarray
    values: np.ndarray

    @property
    def kind(self) -> str:
        """What the values are: "counts" or "log1p_cp10k"."""
        return "log1p_cp10k" if self.values.dtype.kind == "f" else "counts"

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def take(self, cells: np.ndarray) -> "Counts":
        """The given cells (integer positions), in the given order."""
        cells = np.ascontiguousarray(cells, dtype=np.int64)
        lengths = np.diff(self.indptr)[cells]
        indptr = np.zeros(len(cells) + 1, dtype=np.int64)
        np.cumsum(lengths, out=indptr[1:])
        genes = np.empty(indptr[-1], dtype=self.genes.dtype)
        values = np.empty(indptr[-1], dtype=self.values.dtype)
        _take(self.indptr, self.genes, self.values, cells, indptr, genes, values)
        return Counts(indptr, genes, values)

    def slice(self, start: int, stop: int) -> "Counts":
        """Cells start to stop (exclusive), without copying genes and values."""
        lo, hi = self.indptr[start], self.indptr[stop]
        return Counts(self.indptr[start : stop + 1] - lo, self.genes[lo:hi], self.values[lo:hi])

    def of_genes(self, kept: np.ndarray) -> "Counts":
        """The counts of some of the genes, bool (G,), with the same numbers for the genes."""
        there = kept[self.genes]
        indptr = np.concatenate([[0], np.cumsum(there)])[self.indptr]
        return Counts(indptr.astype(np.int64), self.genes[there], self.values[there])

    @classmethod
    def concatenate(cls, parts: Sequence["Counts"]) -> "Counts":
        """Stacks the cells of several matrices over the same genes."""
        indptr = np.zeros(sum(len(part) for part in parts) + 1, dtype=np.int64)
        if parts:
            np.cumsum(np.concatenate([np.diff(part.indptr) for part in parts]), out=indptr[1:])
        genes = np.concatenate([part.genes for part in parts] or [np.empty(0, np.uint16)])
        values = np.concatenate([part.values for part in parts] or [np.empty(0, np.uint16)])
        return cls(indptr, genes, values)


def check_counts(values: np.ndarray, largest: int = MAX_COUNT) -> None:
    """Checks that values are integers from 0 to a largest one.

    Raises:
        ValueError: they are not; the message names the first offender.
    """
    if (place := _first_bad(values, largest)) >= 0:
        raise ValueError(f"{values[place]} is no raw count (an integer from 0 to {largest:,})")


@njit(nogil=True, cache=True)
def _first_bad(values: np.ndarray, largest: int) -> int:
    for k in range(values.shape[0]):
        if not 0 <= values[k] <= largest or values[k] != np.floor(values[k]):  # true for nan
            return k
    return -1


@njit(nogil=True, cache=True)
def _take(
    indptr: np.ndarray,
    genes: np.ndarray,
    values: np.ndarray,
    cells: np.ndarray,
    out_indptr: np.ndarray,
    out_genes: np.ndarray,
    out_values: np.ndarray,
) -> None:
    for i in range(cells.shape[0]):
        source, target = indptr[cells[i]], out_indptr[i]
        for k in range(out_indptr[i + 1] - target):
            out_genes[target + k] = genes[source + k]
            out_values[target + k] = values[source + k]


@njit(nogil=True, cache=True)
def _run_length(rows: np.ndarray) -> int:
    """How many entries from the first on have its row."""
    for k in range(1, rows.shape[0]):
        if rows[k] != rows[0]:
            return k
    return rows.shape[0]


@njit(nogil=True, cache=True)
def keep_runs(
    rows: np.ndarray,
    columns: np.ndarray,
    data: np.ndarray,
    first: int,
    row_of: np.ndarray,
    column_of: np.ndarray,
    run_rows: np.ndarray,
    run_stops: np.ndarray,
    genes: np.ndarray,
    values: np.ndarray,
) -> int:
    """Keeps the wanted entries of a COO batch, in their order (first half of a counting sort).

    Entries of a row lie beside each other in storage, so a row is looked up once per run of equal
    row coordinates, and the coordinates of rows that are not wanted are not looked at further.

    Args:
        rows: int64 row coordinates of the batch.
        columns: int64 column coordinates.
        data: the values.
        first: coordinate that `row_of[0]` stands for.
        row_of: int32, row coordinate − first → row, −1 where the row is not wanted.
        column_of: int32, column coordinate → gene index, −1 where not wanted.
        run_rows: int32, as long as the batch; the row of each run is written here.
        run_stops: int32, as long as the batch; where each run ends in genes and values.
        genes: uint16, as long as the batch; gene indices are written here.
        values: uint16, as long as the batch; counts.

    Returns:
        The number of runs that were kept, or −1 if coordinates lie outside of `row_of` or
        `column_of`, or a wanted value is not a raw count.
    """
    runs = start = 0
    kept = np.int64(0)
    while start < rows.shape[0]:
        stop = start + _run_length(rows[start:])
        place = rows[start] - first
        if not 0 <= place < row_of.shape[0]:
            return -1
        if row_of[place] >= 0:
            # No branch in the loops, which would be guessed wrong where genes are not wanted: each
            # entry is written, and the next one takes its place unless it is kept.
            own_columns, own_data = columns[start:stop], data[start:stop]
            end = kept + stop - start
            own_genes, own_values = genes[kept:end], values[kept:end]
            outside = False
            for k in range(stop - start):
                outside |= (own_columns[k] < 0) | (own_columns[k] >= column_of.shape[0])
            if outside:
                return -1
            length = np.uint64(0)
            bad = False
            for k in range(stop - start):
                gene, value = column_of[np.uint64(own_columns[k])], own_data[k]
                own_genes[length], own_values[length] = gene, np.int32(value)
                wanted = gene >= 0
                # The comparisons are false for nan.
                count = (value >= 0) & (value <= MAX_COUNT) & (value == np.floor(value))
                bad |= wanted & (not count)
                length += np.uint64(wanted)
            if bad:
                return -1
            kept += np.int64(length)
            run_rows[runs], run_stops[runs] = row_of[place], kept
            runs += 1
        start = stop
    return runs


@njit(nogil=True, cache=True)
def place_runs(
    run_rows: np.ndarray,
    run_stops: np.ndarray,
    run_genes: np.ndarray,
    run_values: np.ndarray,
    cursor: np.ndarray,
    genes: np.ndarray,
    values: np.ndarray,
) -> None:
    """Copies what `keep_runs` kept of a batch to its rows (second half of a counting sort).

    `cursor` (int64, rows) is where the next entry of each row goes in `genes` and `values`, and is
    advanced in place.
    """
    start = 0
    for run in range(run_rows.shape[0]):
        stop, target = run_stops[run], cursor[run_rows[run]]
        end = target + stop - start
        genes[target:end] = run_genes[start:stop]
        values[target:end] = run_values[start:stop]
        cursor[run_rows[run]] = end
        start = stop


@njit(nogil=True, cache=True)
def sort_genes(indptr: np.ndarray, genes: np.ndarray, values: np.ndarray) -> int:
    """Sorts the genes of every cell in place; cells already in order cost one look.

    Returns:
        The first cell that has a gene twice, or −1.
    """
    for i in range(indptr.shape[0] - 1):
        own, own_values = genes[indptr[i] : indptr[i + 1]], values[indptr[i] : indptr[i + 1]]
        if not _ascend(own):
            order = np.argsort(own)
            own[:] = own[order]
            own_values[:] = own_values[order]
            if not _ascend(own):
                return i
    return -1


@njit(nogil=True, cache=True)
def _ascend(genes: np.ndarray) -> bool:
    """Whether each is larger than the one before; without early exit, for vector instructions."""
    falls = False
    for k in range(1, genes.shape[0]):
        falls |= genes[k] <= genes[k - 1]
    return not falls


def rank_levels(
    indptr: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Replaces the values of every cell by their place in the cell's list of distinct values.

    Args:
        indptr: int64 (cells + 1), where each cell begins.
        values: float32 (non-zeros); a cell has at most 65,536 of them.

    Returns:
        ranks: uint16 (non-zeros).
        starts: int32 (cells + 1), where the list of each cell begins in `levels`.
        levels: float32, ascending within a cell; values = levels[starts of the cell + ranks].
    """
    ranks = np.empty(len(values), dtype=np.uint16)
    starts = np.zeros(len(indptr), dtype=np.int32)
    levels = np.empty(len(values), dtype=np.float32)
    return ranks, starts, levels[: _rank_levels(indptr, values, ranks, starts, levels)]


@njit(nogil=True, cache=True)
def _rank_levels(
    indptr: np.ndarray,
    values: np.ndarray,
    ranks: np.ndarray,
    starts: np.ndarray,
    levels: np.ndarray,
) -> int:
    used = 0
    for i in range(indptr.shape[0] - 1):
        lo, hi = indptr[i], indptr[i + 1]
        own = np.unique(values[lo:hi])
        ranks[lo:hi] = np.searchsorted(own, values[lo:hi])
        levels[used : used + own.shape[0]] = own
        used += own.shape[0]
        starts[i + 1] = used
    return used
