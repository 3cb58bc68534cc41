"""Finds cells with identical counts among the cells of several stores, in bounded memory.

Every cell is reduced to a 64-bit fingerprint of its (gene, count) pairs. Cells with the same
fingerprint are candidates; their counts are read again and compared, so that only equal cells are
reported. Among 25 million cells, two different ones share a fingerprint with a probability of about
2e-5, and this comparison excludes them.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
from numba import njit

from hce.files import scratch_folder
from hce.store.counts import Counts
from hce.store.encoding import SCHEMA, encode_cells
from hce.store.shards import read_shard

# Candidates whose counts are in memory at a time: 4 bytes per non-zero count, about 200 MB.
CHUNK = 1 << 15


class CountBlocks(Protocol):
    """A source of counts to stream, such as a `CellStore`."""

    def blocks(self) -> Iterator[Counts]:
        """The counts in order, in blocks of cells."""


@njit(nogil=True, cache=True)
def _fingerprints(
    indptr: np.ndarray, genes: np.ndarray, values: np.ndarray, out: np.ndarray
) -> None:
    for i in range(indptr.shape[0] - 1):
        total = np.uint64(0)
        for k in range(indptr[i], indptr[i + 1]):
            # The finaliser of splitmix64; its sum does not depend on the order of the genes.
            x = (np.uint64(genes[k]) << np.uint64(16)) | np.uint64(values[k])
            x += np.uint64(0x9E3779B97F4A7C15)
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            total += x ^ (x >> np.uint64(31))
        out[i] = total


@njit(nogil=True, cache=True)
def _first_equal(
    indptr: np.ndarray,
    genes: np.ndarray,
    values: np.ndarray,
    starts: np.ndarray,
    first: np.ndarray,
) -> None:
    """For each cell of a group, the first cell of the group with the same counts (or itself)."""
    for g in range(starts.shape[0] - 1):
        for i in range(starts[g], starts[g + 1]):
            first[i] = i
            size = indptr[i + 1] - indptr[i]
            for j in range(starts[g], i):
                if first[j] != j or indptr[j + 1] - indptr[j] != size:
                    continue
                k = 0
                while (
                    k < size
                    and genes[indptr[i] + k] == genes[indptr[j] + k]
                    and values[indptr[i] + k] == values[indptr[j] + k]
                ):
                    k += 1
                if k == size:
                    first[i] = j
                    break


def fingerprints(counts: Counts) -> np.ndarray:
    """A 64-bit fingerprint of each cell, uint64 (cells,); 0 for a cell without counts."""
    out = np.empty(len(counts), dtype=np.uint64)
    _fingerprints(counts.indptr, counts.genes, counts.values, out)
    return out


def only(counts: Counts, shared: np.ndarray | None) -> Counts:
    """The counts of the genes in `shared` (bool, genes); of all genes if it is None."""
    if shared is None:
        return counts
    keep = shared[counts.genes]
    before = np.concatenate([[0], np.cumsum(keep, dtype=np.int64)])
    return Counts(before[counts.indptr], counts.genes[keep], counts.values[keep])


def read_fingerprints(store: CountBlocks, shared: np.ndarray | None = None) -> np.ndarray:
    """Fingerprints of all cells of a store, uint64 (cells,), in one pass.

    Args:
        store: the cells.
        shared: bool (genes,), the genes to use; None uses all.
    """
    parts = [fingerprints(only(counts, shared)) for counts in store.blocks()]
    return np.concatenate(parts or [np.empty(0, np.uint64)])


def read_totals(store: CountBlocks) -> np.ndarray:
    """Sum of the counts of every cell, int64 (cells,)."""
    parts = []
    for counts in store.blocks():
        running = np.concatenate([[0], np.cumsum(counts.values, dtype=np.int64)])
        parts.append(np.diff(running[counts.indptr]))
    return np.concatenate(parts or [np.empty(0, np.int64)])


def identical_cells(
    stores: Sequence[CountBlocks], shared: np.ndarray | None = None, must_hold: int | None = None
) -> pd.DataFrame:
    """Groups of cells with exactly the same counts.

    Cells without counts are never reported. This takes two passes over the stores, the second only
    if fingerprints coincide. About 40 bytes per cell and the counts of `CHUNK` candidates are in
    memory, and the counts of all candidates on disk in the temporary folder.

    Args:
        stores: the cells, all with the same genes.
        shared: bool (genes,), the genes to compare; None compares all.
        must_hold: a store; groups without a cell of it are left out. None keeps all groups.

    Returns:
        One row per cell that equals another: store (position in `stores`), row, group. Sorted by
        group, store and row.
    """
    keys = [read_fingerprints(store, shared) for store in stores]
    bounds = np.cumsum([0, *map(len, keys)])
    cells, starts = _candidates(
        np.concatenate(keys or [np.empty(0, np.uint64)]),
        None if must_hold is None else (bounds[must_hold], bounds[must_hold + 1]),
    )
    del keys
    columns = ("store", "row", "group")
    found = [pd.DataFrame(dict.fromkeys(columns, np.empty(0, np.int64)))]
    if len(cells):
        with scratch_folder(Path(tempfile.gettempdir()) / "hce-audit") as folder:
            first = _verify(stores, shared, cells, starts, folder)
        size = np.bincount(first, minlength=len(first))[first]
        store = np.searchsorted(bounds, cells, side="right") - 1
        table = pd.DataFrame({"store": store, "row": cells - bounds[store], "group": first})
        table = table[size > 1]
        if must_hold is not None:
            kept = table.loc[table["store"] == must_hold, "group"]
            table = table[table["group"].isin(kept)]
        found.append(table.sort_values(["group", "store", "row"]))
    return pd.concat(found, ignore_index=True)


def _candidates(
    keys: np.ndarray, required: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Cells that share a fingerprint, group by group, and where each group starts.

    Args:
        keys: uint64, the fingerprints of all cells.
        required: range of cells; a group must contain one of them.

    Returns:
        int64 positions of the cells, and int64 (groups + 1,) starts of the groups among them.
    """
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    start = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]])[: len(ranked)])
    size = np.diff(np.append(start, len(ranked)))
    chosen = (size > 1) & (ranked[start] != 0)
    if required is not None and len(start):
        inside = (order >= required[0]) & (order < required[1])
        chosen &= np.logical_or.reduceat(inside, start)
    member = np.repeat(chosen, size)
    return order[member], np.concatenate([[0], np.cumsum(size[chosen])]).astype(np.int64)


def _verify(
    stores: Sequence[CountBlocks],
    shared: np.ndarray | None,
    cells: np.ndarray,
    starts: np.ndarray,
    folder: Path,
) -> np.ndarray:
    """For each candidate the first one of its group with the same counts, int64 (candidates,)."""
    bucket = starts[:-1] // CHUNK  # whole groups, about CHUNK cells per bucket
    bucket_of = np.repeat(bucket, np.diff(starts))
    files = {int(b): folder / f"{b}.arrow" for b in np.unique(bucket)}
    _deal(stores, shared, cells, bucket_of, files)
    first = np.empty(len(cells), dtype=np.int64)
    for b, file in files.items():
        parts = list(read_shard(file))
        positions = np.concatenate([keys for keys, _ in parts])
        counts = Counts.concatenate([part for _, part in parts]).take(np.argsort(positions))
        lo = int(positions.min())
        groups = np.flatnonzero(bucket == b)
        inside = np.append(starts[groups], starts[groups[-1] + 1]) - lo
        part = np.empty(len(counts), dtype=np.int64)
        _first_equal(counts.indptr, counts.genes, counts.values, inside, part)
        first[lo : lo + len(counts)] = part + lo
        file.unlink()
    return first


def _deal(
    stores: Sequence[CountBlocks],
    shared: np.ndarray | None,
    cells: np.ndarray,
    bucket_of: np.ndarray,
    files: dict[int, Path],
) -> None:
    """Writes the candidates' counts to the file of their bucket, in one pass over the stores."""
    order = np.argsort(cells)
    ranked = cells[order]
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    sinks = {b: pa.OSFile(str(file), "wb") for b, file in files.items()}
    writers = {b: pa.ipc.new_file(sink, SCHEMA, options=options) for b, sink in sinks.items()}

    def flush(pending: list[tuple[np.ndarray, Counts]]) -> None:
        positions = np.concatenate([part for part, _ in pending])
        counts = Counts.concatenate([part for _, part in pending])
        for b in np.unique(bucket_of[positions]):
            rows = np.flatnonzero(bucket_of[positions] == b)
            writers[int(b)].write_batch(encode_cells(positions[rows], counts.take(rows)))

    pending: list[tuple[np.ndarray, Counts]] = []
    done = 0
    for store in stores:
        for counts in store.blocks():
            lo, hi = np.searchsorted(ranked, [done, done + len(counts)])
            if hi > lo:
                pending.append((order[lo:hi], only(counts.take(ranked[lo:hi] - done), shared)))
            done += len(counts)
            if sum(len(part) for part, _ in pending) >= CHUNK // 8:
                flush(pending)
                pending = []
    if pending:
        flush(pending)
    for b, writer in writers.items():
        writer.close()
        sinks[b].close()
