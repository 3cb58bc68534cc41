"""Bytes a cell of the store, and how fast a shard is read and decoded.

On simulated cells of 2,469 expressed genes, the mean of 10x cells at the atlas's depth: genes
differ in how often they are seen, cells in depth, and counts are mostly 1 with a long tail.
"""

import os
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from harness import Result

from hce.checksums import crc32c_of
from hce.store.cell_store import SHARD_CELLS, CellStore, describe_store
from hce.store.counts import Counts
from hce.store.shards import BATCH_CELLS, read_shard, write_shard

GENES = 19_331
NON_ZERO = 2_469
CELLS = 32_768


def simulated_counts(cells: int, seed: int = 0) -> Counts:
    """Simulated cells with `NON_ZERO` expressed genes on average and about three counts on each."""
    rng = np.random.default_rng(seed)
    common = rng.beta(0.3, 2.1, GENES).astype(np.float32)
    common = (common * NON_ZERO / common.sum()).clip(max=0.95)
    genes, values = [], []
    for depth in rng.lognormal(0, 0.35, cells) * 0.955:
        seen = np.flatnonzero(rng.random(GENES, dtype=np.float32) < common * depth)
        rate = 1 + 9 * depth * common[seen] ** 2
        genes.append(seen.astype(np.uint16))
        values.append(rng.geometric(1 / rate).clip(max=65535).astype(np.uint16))
    indptr = np.zeros(cells + 1, dtype=np.int64)
    np.cumsum([len(part) for part in genes], out=indptr[1:])
    return Counts(indptr, np.concatenate(genes), np.concatenate(values))


def write(folder: Path, counts: Counts) -> CellStore:
    """A store of these cells, in their order."""
    shards = []
    for start in range(0, len(counts), SHARD_CELLS):
        stop = min(start + SHARD_CELLS, len(counts))
        name = f"shard-{len(shards):05d}.arrow"
        write_shard(folder / name, [(np.arange(start, stop), counts.slice(start, stop))])
        shards.append({"file": name, "cells": stop - start, "sha256": ""})
    genes = pd.DataFrame({"feature_id": [f"G{i}" for i in range(GENES)], "feature_name": ""})
    cells = pd.DataFrame({"soma_joinid": np.arange(len(counts)), "label": 0})
    describe_store(folder, "counts", cells, genes, shards, {})
    return CellStore.open(folder)


def bytes_of_counts(store: CellStore) -> int:
    """Size of the shards, without tables of genes and cells."""
    return sum((store.path / shard["file"]).stat().st_size for shard in store.manifest["shards"])


def seconds_to_read(shard: Path, checksum: str | None) -> float:
    """CPU seconds to read and decode a shard, compared with a checksum or not."""
    start = time.process_time()
    for _ in read_shard(shard, checksum):
        pass
    return time.process_time() - start


def run() -> list[Result]:
    """Size, cells a CPU second, and what the checksum costs."""
    counts = simulated_counts(CELLS)
    with tempfile.TemporaryDirectory() as folder:
        store = write(Path(folder), counts)
        size = bytes_of_counts(store) / CELLS
        shard = store.path / store.manifest["shards"][0]["file"]
        checksum = crc32c_of(shard)
        unchecked, checked = [], []
        for repeat in range(12):
            unchecked.append(seconds_to_read(shard, None))
            os.utime(shard, (repeat, repeat))  # or it would be known to be whole
            checked.append(seconds_to_read(shard, checksum))
    nonzero = counts.indptr[-1] / CELLS
    return [
        Result(f"store: size at {nonzero:,.0f} genes a cell", size, "bytes/cell", target=2900),
        Result(
            f"store: read and decode batches of {BATCH_CELLS}",
            CELLS / min(unchecked),
            "cells/CPU s",
        ),
        Result(
            "store: what comparing a shard with its checksum adds to that",
            100 * (median(checked) / median(unchecked) - 1),
            "%",
            target=3,
        ),
    ]
