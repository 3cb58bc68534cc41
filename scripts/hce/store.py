"""Counts on disk: shards in Arrow IPC, and the `CellStore` that assembles them.

A shard holds record batches of cells. Gene indices are stored as differences modulo 2^16 over the
whole batch, so that one cumulative sum decodes them, and differences and counts are each split
into low and high bytes, because the high bytes are nearly all zero and then cost nothing after
zstd. Any Arrow implementation can read the files.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from hce.counts import Counts
from hce.errors import UserError
from hce.files import atomic_path, sha256_of

FORMAT = 1
BATCH_CELLS = 1024
SHARD_CELLS = 32768
CELLS_TABLE = "cells.parquet"
MANIFEST = "manifest.json"
_PLANES = ("gene_low", "gene_high", "value_low", "value_high")
SCHEMA = pa.schema([("key", pa.int64()), *((name, pa.list_(pa.uint8())) for name in _PLANES)])


def encode(keys: np.ndarray, counts: Counts) -> pa.RecordBatch:
    """One record batch of `SCHEMA` from keys (int64, one a cell) and counts."""
    deltas = np.diff(counts.genes, prepend=np.uint16(0))
    offsets = pa.array(counts.indptr.astype(np.int32))
    planes = []
    for numbers in (deltas, counts.values):
        pair = np.ascontiguousarray(numbers, dtype="<u2").view(np.uint8)
        planes += [np.ascontiguousarray(pair[0::2]), np.ascontiguousarray(pair[1::2])]
    arrays = [pa.ListArray.from_arrays(offsets, pa.array(plane)) for plane in planes]
    return pa.record_batch([pa.array(keys), *arrays], schema=SCHEMA)


def decode(batch: pa.RecordBatch) -> tuple[np.ndarray, Counts]:
    """Keys and counts of a record batch; inverse of `encode`."""
    keys = batch.column("key").to_numpy()
    numbers = []
    for low, high in (_PLANES[:2], _PLANES[2:]):
        low_plane = batch.column(low).flatten().to_numpy()
        pair = np.empty(2 * len(low_plane), dtype=np.uint8)
        pair[0::2] = low_plane
        pair[1::2] = batch.column(high).flatten().to_numpy()
        numbers.append(pair.view("<u2"))
    deltas, values = numbers
    indptr = batch.column(_PLANES[0]).offsets.to_numpy().astype(np.int64)
    return keys, Counts(indptr, np.cumsum(deltas, dtype=np.uint16), values)


def write_shard(path: str | Path, blocks: Iterable[tuple[np.ndarray, Counts]]) -> int:
    """Writes keys and counts to a shard, atomically; returns the number of cells."""
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1))
    cells = 0
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, SCHEMA, options=options) as writer,
    ):
        for keys, counts in blocks:
            for start in range(0, len(keys), BATCH_CELLS):
                stop = min(start + BATCH_CELLS, len(keys))
                writer.write_batch(encode(keys[start:stop], counts.slice(start, stop)))
            cells += len(keys)
    return cells


def read_shard(path: str | Path) -> Iterator[tuple[np.ndarray, Counts]]:
    """Yields keys and counts of a shard, one record batch at a time.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            for i in range(reader.num_record_batches):
                yield decode(reader.get_batch(i))
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            f"Shard {path} is damaged ({error}): delete it and run again to rebuild it."
        ) from error


@dataclass(frozen=True)
class CellStore:
    """The counts of one set of cells, on disk, in training order.

    Attributes:
        path: the folder.
        manifest: what the store holds: format, cells, values ("counts"), genes (feature_id,
            feature_name), shards (file, cells, sha256), provenance.
    """

    path: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> "CellStore":
        """Opens a store.

        Raises:
            UserError: there is no complete store at the path.
        """
        path = Path(path)
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is no complete cell store: {error}.") from error
        if manifest.get("format") != FORMAT:
            raise UserError(f"{path} has store format {manifest.get('format')}, not {FORMAT}.")
        return cls(path, manifest)

    def __len__(self) -> int:
        return int(self.manifest["cells"])

    @property
    def genes(self) -> pd.DataFrame:
        """feature_id and feature_name, in column order."""
        return pd.DataFrame(self.manifest["genes"])

    def cells(self) -> pd.DataFrame:
        """The cells in the order of the counts; columns as in D/cells/<release>.parquet."""
        return pd.read_parquet(self.path / CELLS_TABLE)

    def blocks(self) -> Iterator[Counts]:
        """Streams the counts in order, about a thousand cells at a time."""
        for shard in self.manifest["shards"]:
            for _, counts in read_shard(self.path / shard["file"]):
                yield counts

    def load(self) -> Counts:
        """All counts in memory: 4 bytes a non-zero."""
        return Counts.concatenate(list(self.blocks()))

    def verify(self) -> None:
        """Recomputes the checksum of every shard.

        Raises:
            UserError: a shard is missing or differs; names it.
        """
        for shard in self.manifest["shards"]:
            file = self.path / shard["file"]
            if not file.is_file() or sha256_of(file) != shard["sha256"]:
                raise UserError(f"Shard {file} is missing or damaged: rebuild {self.path}.")


def write_store(
    path: str | Path,
    exported: Iterable[str | Path],
    cells: pd.DataFrame,
    genes: pd.DataFrame,
    provenance: Mapping[str, Any],
) -> CellStore:
    """Assembles a store from exported shards, in the order of its cell table.

    Two passes keep memory bounded: cells are first dealt into one bucket per shard of the store,
    then each bucket is sorted on its own.

    Args:
        path: folder of the store; complete afterwards, or absent.
        exported: shards whose keys are soma_joinids, ascending.
        cells: the cells of the store in their order, with soma_joinid.
        genes: feature_id and feature_name in column order.
        provenance: goes to the manifest.

    Raises:
        UserError: the exported shards lack a cell.
    """
    ids = cells["soma_joinid"].to_numpy()
    order = np.argsort(ids, kind="stable")
    with atomic_path(path) as folder:
        folder.mkdir()
        n_shards = -(-len(ids) // SHARD_CELLS)
        with tempfile.TemporaryDirectory(dir=folder, prefix="buckets-") as buckets:
            bucket_files = [Path(buckets) / f"{i}.arrow" for i in range(n_shards)]
            found = _deal(exported, ids[order], order, bucket_files)
            if found != len(ids):
                raise UserError(
                    f"The exported counts hold {found:,} of the {len(ids):,} cells of {path}: "
                    "delete the exported counts and run again."
                )
            shards = []
            for i, bucket in enumerate(bucket_files):
                file = f"shard-{i:05d}.arrow"
                parts = list(read_shard(bucket))
                positions = np.concatenate([keys for keys, _ in parts])
                rank = np.argsort(positions)
                counts = Counts.concatenate([part for _, part in parts]).take(rank)
                size = write_shard(folder / file, [(ids[positions[rank]], counts)])
                shards.append({"file": file, "cells": size, "sha256": sha256_of(folder / file)})
        cells.to_parquet(folder / CELLS_TABLE, index=False)
        manifest = {
            "format": FORMAT,
            "cells": len(ids),
            "values": "counts",
            "provenance": dict(provenance),
            "shards": shards,
            "genes": genes.to_dict("list"),
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return CellStore.open(path)


def _deal(
    exported: Iterable[str | Path], sorted_ids: np.ndarray, order: np.ndarray, buckets: list[Path]
) -> int:
    """Deals exported cells into buckets by their position in the store; returns how many."""
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    sinks = [pa.OSFile(str(path), "wb") for path in buckets]
    writers = [pa.ipc.new_file(sink, SCHEMA, options=options) for sink in sinks]
    found = 0

    def flush(parts: list[tuple[np.ndarray, Counts]]) -> None:
        positions = np.concatenate([keys for keys, _ in parts])
        counts = Counts.concatenate([part for _, part in parts])
        bucket_of = positions // SHARD_CELLS
        for bucket in np.unique(bucket_of):
            rows = np.flatnonzero(bucket_of == bucket)
            writers[bucket].write_batch(encode(positions[rows], counts.take(rows)))

    pending: list[tuple[np.ndarray, Counts]] = []
    size = 0
    for path in exported:
        for keys, counts in read_shard(path):
            place = np.minimum(np.searchsorted(sorted_ids, keys), len(sorted_ids) - 1)
            rows = np.flatnonzero(sorted_ids[place] == keys)
            if len(rows) == 0:
                continue
            pending.append((order[place[rows]], counts.take(rows)))
            size += len(rows)
            if size >= SHARD_CELLS:
                flush(pending)
                found, size, pending = found + size, 0, []
    if pending:
        flush(pending)
    for writer, sink in zip(writers, sinks, strict=True):
        writer.close()
        sink.close()
    return found + size
