"""Shards: files of counts in Arrow IPC, in record batches of cells (see `encoding`)."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hce import checksums
from hce.errors import UserError
from hce.files import atomic_path, sha256_of
from hce.store.counts import Counts
from hce.store.encoding import SCHEMAS, decode_cells, encode_cells
from hce.store.manifest import MANIFEST

BATCH_CELLS = 1024


def write_shard(
    path: str | Path, blocks: Iterable[tuple[np.ndarray, Counts]], kind: str = "counts"
) -> int:
    """Writes keys and counts of a kind to a shard, atomically; returns the number of cells."""
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1))
    cells = 0
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, SCHEMAS[kind], options=options) as writer,
    ):
        for keys, counts in blocks:
            for start in range(0, len(keys), BATCH_CELLS):
                stop = min(start + BATCH_CELLS, len(keys))
                writer.write_batch(encode_cells(keys[start:stop], counts.slice(start, stop)))
            cells += len(keys)
    return cells


def describe_shard(path: Path, cells: int) -> dict[str, Any]:
    """What the manifest of a store says of a shard that is complete."""
    sums = {"sha256": sha256_of(path), "crc32c": checksums.crc32c_of(path)}
    return {"file": path.name, "cells": cells, **sums}


def read_shard(
    path: str | Path, expected: str | None = None
) -> Iterator[tuple[np.ndarray, Counts]]:
    """Yields keys and counts of a shard, one record batch at a time; see `open_shard`.

    Raises:
        UserError: the file is damaged.
    """
    with open_shard(path, expected=expected) as reader:
        for i in range(reader.num_record_batches):
            yield decode_cells(reader.get_batch(i))


@contextmanager
def open_shard(
    path: str | Path,
    columns: Sequence[int] | None = None,
    at_once: bool = False,
    expected: str | None = None,
) -> Iterator[pa.ipc.RecordBatchFileReader]:
    """Opens a shard; everything that reads one comes through here.

    A shard that is read whole is first held to its checksum, once a process.

    Args:
        path: the file.
        columns: numbers of the columns of `SCHEMA` that are read; None: all.
        at_once: whether the file is read to memory in one piece, which network file systems do
            several times faster than the pages of a mapped file.
        expected: CRC-32C, as the manifest of a store has it; None: as recorded beside the file.

    Yields:
        The reader of its record batches.

    Raises:
        UserError: the file is missing or damaged; says how to rebuild it.
    """
    options = pa.ipc.IpcReadOptions(included_fields=columns)
    try:
        with (
            _read_at_once(path) if at_once else pa.memory_map(str(path)) as source,
        ):
            if columns is None:
                _check_shard(Path(path), source, expected)
            with pa.ipc.open_file(source, options=options) as reader:
                yield reader
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error


def damaged(path: str | Path, error: Exception) -> UserError:
    """What to say of a shard that cannot be read."""
    return UserError(f"Shard {path} is damaged ({error}): {cure(Path(path))}.")


def _read_at_once(path: str | Path) -> pa.BufferReader:
    """A file in memory of Arrow's own: its threads may release that while the process ends."""
    with pa.OSFile(str(path)) as file:
        return pa.BufferReader(file.read_buffer())


def _check_shard(path: Path, source: pa.NativeFile, expected: str | None) -> None:
    """Compares an open shard with its checksum; the pages that this reads are decoded next."""
    if not checksums.is_whole(path, source.read_buffer(), expected or checksums.recorded(path)):
        raise pa.ArrowInvalid("its checksum is another than when it was written")
    source.seek(0)


def cure(path: Path) -> str:
    """How a shard is rebuilt: one of a store by itself, one that was exported by Snakemake."""
    if (path.parent / MANIFEST).is_file():
        return f"`hce store {path.parent} --repair` rebuilds it"
    return "delete it and run Snakemake again, and it alone is exported again"
