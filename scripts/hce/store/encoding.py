"""The bytes of a shard: cells as Arrow record batches.

Gene indices are stored as differences modulo 2^16 over the whole batch, so that one cumulative sum
decodes them, and differences and counts are each split into low and high bytes, because the high
bytes are nearly all zero and then cost nothing after zstd. Normalised values have few levels in a
cell, one for each count that it has: they are kept as the place of their level in the cell's
ascending list of levels. Any Arrow implementation can read them.
"""

import numpy as np
import pyarrow as pa
from numba import njit

from hce.store.counts import Counts, rank_levels

_PLANES = ("gene_low", "gene_high", "value_low", "value_high")
SCHEMA = pa.schema([("key", pa.int64()), *((name, pa.list_(pa.uint8())) for name in _PLANES)])
# Kind of values → schema of a shard.
SCHEMAS = {
    "counts": SCHEMA,
    "log1p_cp10k": SCHEMA.append(pa.field("levels", pa.list_(pa.float32()))),
}


def encode_cells(keys: np.ndarray, counts: Counts) -> pa.RecordBatch:
    """One record batch from keys (int64, one a cell) and counts; of `SCHEMAS[counts.kind]`."""
    deltas = np.diff(counts.genes, prepend=np.uint16(0))
    offsets = pa.array(counts.indptr.astype(np.int32))
    values, further = counts.values, []
    if counts.kind == "log1p_cp10k":
        values, starts, levels = rank_levels(counts.indptr, counts.values)
        further = [pa.ListArray.from_arrays(pa.array(starts), pa.array(levels))]
    planes = []
    for numbers in (deltas, values):
        pair = np.ascontiguousarray(numbers, dtype="<u2").view(np.uint8)
        planes += [np.ascontiguousarray(pair[0::2]), np.ascontiguousarray(pair[1::2])]
    arrays = [pa.ListArray.from_arrays(offsets, pa.array(plane)) for plane in planes]
    return pa.record_batch([pa.array(keys), *arrays, *further], schema=SCHEMAS[counts.kind])


def decode_cells(batch: pa.RecordBatch) -> tuple[np.ndarray, Counts]:
    """Keys and counts of a record batch; inverse of `encode_cells`."""
    indptr = cell_bounds(batch)
    genes = np.empty(indptr[-1], dtype=np.uint16)
    values = np.empty(indptr[-1], dtype=np.uint16)
    decode_into(batch, indptr[:-1], genes, values)
    if "levels" in batch.schema.names:
        levels = batch.column("levels")
        first = np.repeat(levels.offsets.to_numpy()[:-1], np.diff(indptr))
        values = levels.values.to_numpy()[first + values]
    return batch.column("key").to_numpy(), Counts(indptr, genes, values)


def decode_rows(batch: pa.RecordBatch, rows: np.ndarray) -> Counts:
    """Counts of some cells of a record batch, given by row, ascending."""
    counts = decode_cells(batch)[1]
    return counts if len(rows) == len(batch) else counts.take(rows)


def cell_bounds(batch: pa.RecordBatch) -> np.ndarray:
    """Where each cell of a record batch begins and the last ends, int64 (cells + 1)."""
    return batch.column(_PLANES[0]).offsets.to_numpy().astype(np.int64)


def decode_into(
    batch: pa.RecordBatch, starts: np.ndarray, genes: np.ndarray, values: np.ndarray
) -> None:
    """Decodes the cells of a record batch to places of their own, in one pass.

    Args:
        batch: the record batch.
        starts: int64 (cells), where each cell begins in the outputs.
        genes: uint16, gene indices are written here.
        values: uint16, counts (of normalised values: places in the list of levels).
    """
    planes = [batch.column(name).flatten().to_numpy() for name in _PLANES]
    gene_low, gene_high, value_low, value_high = planes
    bounds = cell_bounds(batch)
    _unpack(gene_low, gene_high, value_low, value_high, bounds, starts, genes, values)


@njit(nogil=True, cache=True)
def _unpack(
    gene_low: np.ndarray,
    gene_high: np.ndarray,
    value_low: np.ndarray,
    value_high: np.ndarray,
    indptr: np.ndarray,
    starts: np.ndarray,
    genes: np.ndarray,
    values: np.ndarray,
) -> None:
    # Slices of each cell: with their own index from 0, the loops become vector instructions.
    gene = np.uint16(0)
    for i in range(starts.shape[0]):
        lo, hi = indptr[i], indptr[i + 1]
        low, high = gene_low[lo:hi], gene_high[lo:hi]
        own = genes[starts[i] : starts[i] + hi - lo]
        for k in range(low.shape[0]):
            gene = np.uint16(gene + np.uint16(low[k]) + (np.uint16(high[k]) << np.uint16(8)))
            own[k] = gene
        low, high = value_low[lo:hi], value_high[lo:hi]
        own = values[starts[i] : starts[i] + hi - lo]
        for k in range(low.shape[0]):
            own[k] = np.uint16(low[k]) | (np.uint16(high[k]) << np.uint16(8))
