"""The `CellStore`: the counts of one set of cells on disk, assembled from shards."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from hce import checksums
from hce.errors import UserError
from hce.files import atomic_path, read_parquet, sha256_of
from hce.store.counts import Counts
from hce.store.encoding import (
    SCHEMA,
    cell_bounds,
    decode_cells,
    decode_into,
    decode_rows,
    encode_cells,
)
from hce.store.manifest import FORMAT, MANIFEST, read_manifest
from hce.store.shards import cure, describe_shard, open_shard, read_shard, write_shard

SHARD_CELLS = 32768
# Files that are written at a time while a store is assembled; many systems allow a process 1,024.
OPEN_BUCKETS = 512
CELLS_TABLE = "cells.parquet"


@dataclass(frozen=True)
class CellStore:
    """The counts of one set of cells, on disk, in training order.

    Attributes:
        path: the folder.
        manifest: what the store holds: format, cells, nonzeros, values ("counts" or
            "log1p_cp10k"), genes (feature_id, feature_name), shards (see `describe_shard`),
            provenance.
    """

    path: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> "CellStore":
        """Opens a store.

        Raises:
            UserError: there is no complete store at the path.
        """
        return cls(Path(path), read_manifest(path))

    def __len__(self) -> int:
        return int(self.manifest["cells"])

    @property
    def genes(self) -> pd.DataFrame:
        """feature_id and feature_name, in column order."""
        return pd.DataFrame(self.manifest["genes"])

    def cells(self, columns: list[str] | None = None) -> pd.DataFrame:
        """The cells in the order of the counts; all columns of the table of cells, or some.

        Raises:
            UserError: the table is not as it was written.
        """
        checksums.verify(self.path / CELLS_TABLE, part_of=self.path)
        return read_parquet(self.path / CELLS_TABLE, columns=columns)

    def blocks(self) -> Iterator[Counts]:
        """Streams the counts in order, about a thousand cells at a time.

        Raises:
            UserError: a shard is damaged, or holds other cells than the table of cells.
        """
        ids = self.cells(["soma_joinid"])["soma_joinid"].to_numpy()
        for first, shard in self.shards():
            for _, batch in self._batches_of(first, shard, ids):
                yield decode_cells(batch)[1]

    def visit(
        self,
        use: Callable[[int, pa.RecordBatch, np.ndarray], None],
        cells: np.ndarray | None = None,
    ) -> None:
        """Hands out the record batches, about a thousand cells each, by all cores.

        Args:
            use: called in no order and from several threads, with a record batch that holds some of
                the cells, their rows there, and the place of the first of them among `cells`.
            cells: positions, ascending; shards without any of them are not read. None: all.

        Raises:
            UserError: as `blocks`.
        """
        ids = self.cells(["soma_joinid"])["soma_joinid"].to_numpy()
        wanted = np.arange(len(self)) if cells is None else cells

        def visit_shard(shard: tuple[int, Mapping[str, Any]]) -> None:
            for first, batch in self._batches_of(*shard, ids):
                place, end = np.searchsorted(wanted, [first, first + len(batch)])
                if place < end:
                    use(int(place), batch, wanted[place:end] - first)

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            list(threads.map(visit_shard, self.shards(cells)))

    def shards(self, cells: np.ndarray | None = None) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """The shards that hold some cells, or all: position of the first cell, and entry."""
        first = 0
        for shard in self.manifest["shards"]:
            last = first + shard["cells"]
            if cells is None or np.diff(np.searchsorted(cells, [first, last])).any():
                yield first, shard
            first = last

    def _batches_of(
        self, first: int, shard: Mapping[str, Any], ids: np.ndarray
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The record batches of a shard, each with the position of its first cell.

        Args:
            first: position of the first cell of the shard.
            shard: its entry in the manifest.
            ids: soma_joinids of all cells.
        """
        file = self.path / shard["file"]
        with open_shard(file, expected=shard.get("crc32c")) as reader:
            for i in range(reader.num_record_batches):
                batch = reader.get_batch(i)
                keys = batch.column("key").to_numpy()
                self.check_keys(file, keys, ids[first : first + len(keys)])
                yield first, batch
                first += len(keys)

    def check_keys(self, file: Path, keys: np.ndarray, ids: np.ndarray) -> None:
        """Compares the keys of a shard's cells with the soma_joinids of the table of cells.

        Raises:
            UserError: they differ: labels of the table would go to other cells.
        """
        if not np.array_equal(keys, ids):
            raise UserError(
                f"{file} holds other cells, or in another order, than {self.path / CELLS_TABLE}: "
                f"`hce store {self.path} --verify` says whether it is damaged; if it is not, "
                "delete the store and run Snakemake again, which builds it anew."
            )

    def load(self, cells: np.ndarray | None = None) -> Counts:
        """Counts in memory: 4 bytes a non-zero, or 6 where they are normalised.

        The arrays are made once and filled by all cores, so that no second copy is there meanwhile.

        Args:
            cells: positions, ascending; None: all cells.

        Raises:
            UserError: as `blocks` and `starts`.
        """
        indptr = self.starts(cells)
        genes = np.empty(indptr[-1], dtype=np.uint16)
        normalised = self.manifest["values"] != "counts"
        values = np.empty(indptr[-1], dtype=np.float32 if normalised else np.uint16)

        def keep(place: int, batch: pa.RecordBatch, rows: np.ndarray) -> None:
            bounds = indptr[place : place + len(rows) + 1]
            if not np.array_equal(np.diff(bounds), np.diff(cell_bounds(batch))[rows]):
                raise UserError(f"{self.path} was changed while it was read: run again.")
            if normalised or len(rows) < len(batch):
                counts, own = decode_rows(batch, rows), slice(bounds[0], bounds[-1])
                genes[own], values[own] = counts.genes, counts.values
            else:
                decode_into(batch, bounds[:-1], genes, values)

        self.visit(keep, cells)
        return Counts(indptr, genes, values)

    def starts(self, cells: np.ndarray | None = None) -> np.ndarray:
        """Where each cell begins among the non-zeros of all, and the last ends: int64 (cells + 1).

        Args:
            cells: positions, ascending, if not all cells are meant; the others do not count.

        Raises:
            UserError: the shards hold another number of counts than the manifest says.
        """
        lengths = np.zeros(len(self), dtype=np.int64)
        for first, shard in self.shards(cells):
            for found in self._lengths(shard):
                lengths[first : first + len(found)] = found
                first += len(found)
        if cells is not None:
            lengths = lengths[cells]
        starts = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=starts[1:])
        if len(lengths) == len(self) and starts[-1] != self.manifest["nonzeros"]:
            raise UserError(
                f"{self.path} has {starts[-1]:,} counts, but {self.manifest['nonzeros']:,} by its "
                f"manifest: `hce store {self.path} --verify` says which shard is damaged."
            )
        return starts

    def count_nonzeros(self) -> int:
        """Non-zeros of all cells, from the shards."""
        lengths = (found for _, shard in self.shards() for found in self._lengths(shard))
        return sum(int(found.sum(dtype=np.int64)) for found in lengths)

    def _lengths(self, shard: Mapping[str, Any]) -> Iterator[np.ndarray]:
        """Non-zeros of the cells, a record batch at a time; reads the smallest column alone."""
        column = SCHEMA.get_field_index("gene_high")
        cells = 0
        with open_shard(self.path / shard["file"], [column]) as reader:
            for i in range(reader.num_record_batches):
                batch = reader.get_batch(i)
                batch.validate()  # the shard is not held to its checksum yet
                cells += batch.num_rows
                if cells > shard["cells"]:
                    raise pa.ArrowInvalid(f"it has more than its {shard['cells']:,} cells")
                yield np.diff(batch.column(0).offsets.to_numpy())

    def damaged_shards(self) -> Iterator[Path]:
        """The shards that are missing or whose checksum is not the manifest's."""
        for shard in self.manifest["shards"]:
            file = self.path / shard["file"]
            if not file.is_file() or sha256_of(file) != shard["sha256"]:
                yield file

    def verify(self) -> None:
        """Recomputes the checksum of every shard and of the table of cells.

        Raises:
            UserError: one is missing or differs; names it.
        """
        checksums.verify(self.path / CELLS_TABLE, part_of=self.path)
        for file in self.damaged_shards():
            raise UserError(f"Shard {file} is missing or damaged: {cure(file)}.")


def write_store(
    path: str | Path,
    exported: Iterable[str | Path],
    cells: pd.DataFrame,
    genes: pd.DataFrame,
    provenance: Mapping[str, Any],
) -> CellStore:
    """Assembles a store from exported shards, in the order of its cell table.

    Two steps keep memory bounded: cells are first dealt into one bucket per shard of the store,
    then each bucket is sorted on its own and removed. A store of many shards is made in several
    such passes over the exported ones, so that few files are open at a time.

    Args:
        path: folder of the store; complete afterwards, or absent.
        exported: shards whose keys are soma_joinids, ascending.
        cells: the cells of the store in their order, with soma_joinid.
        genes: feature_id and feature_name in column order.
        provenance: goes to the manifest.

    Raises:
        UserError: an exported shard is damaged, or they lack a cell.
    """
    ids = cells["soma_joinid"].to_numpy()
    order = np.argsort(ids, kind="stable")
    with atomic_path(path) as folder:
        folder.mkdir()
        shards: list[dict[str, Any]] = []
        for start in range(0, len(ids), OPEN_BUCKETS * SHARD_CELLS):
            stop = min(start + OPEN_BUCKETS * SHARD_CELLS, len(ids))
            with tempfile.TemporaryDirectory(dir=folder, prefix="buckets-") as temporary:
                buckets = [
                    Path(temporary, str(i)) for i in range(-(-(stop - start) // SHARD_CELLS))
                ]
                found = _deal(exported, ids[order], order, slice(start, stop), buckets)
                if found != stop - start:
                    raise UserError(
                        f"The exported counts hold {len(ids) - (stop - start - found):,} of the "
                        f"{len(ids):,} cells of {path}: delete the exported counts and run again."
                    )
                for bucket in buckets:
                    file = folder / f"shard-{len(shards):05d}.arrow"
                    shards.append(_sort_bucket(bucket, ids, file))
                    bucket.unlink()
        describe_store(folder, "counts", cells, genes, shards, provenance)
    return CellStore.open(path)


def _sort_bucket(bucket: Path, ids: np.ndarray, file: Path) -> dict[str, Any]:
    """Writes the cells of a bucket as a shard, in order; returns its entry in the manifest."""
    parts = list(read_shard(bucket))
    positions = np.concatenate([keys for keys, _ in parts])
    rank = np.argsort(positions)
    counts = Counts.concatenate([part for _, part in parts]).take(rank)
    cells = write_shard(file, [(ids[positions[rank]], counts)])
    return describe_shard(file, cells)


def describe_store(
    folder: Path,
    kind: str,
    cells: pd.DataFrame,
    genes: pd.DataFrame,
    shards: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
) -> None:
    """Writes the cell table and the manifest of a store whose shards are there.

    Args:
        folder: the store's folder.
        kind: what its values are, a key of `SCHEMAS`.
        cells: the cells in the order of the shards.
        genes: feature_id and feature_name in column order.
        shards: what `describe_shard` says of each, in order.
        provenance: goes to the manifest.
    """
    cells.to_parquet(folder / CELLS_TABLE, index=False)
    manifest = {
        "format": FORMAT,
        "cells": len(cells),
        "nonzeros": 0,
        "values": kind,
        "provenance": dict(provenance),
        "shards": list(shards),
        "genes": genes.to_dict("list"),
    }
    manifest["nonzeros"] = CellStore(folder, manifest).count_nonzeros()
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    for name in (CELLS_TABLE, MANIFEST):
        checksums.record(folder / name)


def _deal(
    exported: Iterable[str | Path],
    sorted_ids: np.ndarray,
    order: np.ndarray,
    places: slice,
    buckets: list[Path],
) -> int:
    """Deals the exported cells that go to some places of the store into buckets of them.

    Args:
        exported: shards.
        sorted_ids: soma_joinids of the store's cells, ascending.
        order: their places in the store.
        places: those that are dealt now.
        buckets: files to write, one per `SHARD_CELLS` places.

    Returns:
        How many cells were found.
    """
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1))
    found = 0
    with ExitStack() as files:
        writers = [
            files.enter_context(
                pa.ipc.new_file(
                    files.enter_context(pa.OSFile(str(path), "wb")), SCHEMA, options=options
                )
            )
            for path in buckets
        ]

        def flush(parts: list[tuple[np.ndarray, Counts]]) -> None:
            positions = np.concatenate([keys for keys, _ in parts])
            counts = Counts.concatenate([part for _, part in parts])
            bucket_of = (positions - places.start) // SHARD_CELLS
            for bucket in np.unique(bucket_of):
                rows = np.flatnonzero(bucket_of == bucket)
                writers[bucket].write_batch(encode_cells(positions[rows], counts.take(rows)))

        pending: list[tuple[np.ndarray, Counts]] = []
        size = 0
        for path in exported:
            for keys, counts in read_shard(path):
                place = np.minimum(np.searchsorted(sorted_ids, keys), len(sorted_ids) - 1)
                position = order[place]
                wanted = (position >= places.start) & (position < places.stop)
                rows = np.flatnonzero((sorted_ids[place] == keys) & wanted)
                if len(rows) == 0:
                    continue
                pending.append((position[rows], counts.take(rows)))
                size += len(rows)
                if size >= SHARD_CELLS:
                    flush(pending)
                    found, size, pending = found + size, 0, []
        if pending:
            flush(pending)
    return found + size
