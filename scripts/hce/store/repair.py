"""What a store holds, whether it is whole, and how a damaged shard is rebuilt (`hce store`)."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from hce.errors import UserError
from hce.files import atomic_path, read_parquet, sha256_of
from hce.store.cell_store import CellStore
from hce.store.counts import Counts
from hce.store.shards import write_shard

# Types and studies that are listed.
TOP = 5


def describe(store: CellStore) -> str:
    """What a store holds, as lines of `key: value`.

    Types are named where the store lies in a data folder of the pipeline, beside the hierarchy.
    """
    manifest = store.manifest
    shards = manifest["shards"]
    files = [store.path / shard["file"] for shard in shards]
    size = sum(file.stat().st_size for file in files if file.is_file())
    provenance = dict(manifest["provenance"])
    lines = {
        "store": str(store.path),
        "cells": f"{len(store):,}",
        "genes": f"{len(manifest['genes']['feature_id']):,}",
        "values": str(manifest["values"]),
        "shards": f"{len(shards):,}",
        "size": f"{size / 1e6:,.1f} MB, {size / max(len(store), 1):,.0f} bytes a cell",
        "release": str(provenance.pop("release", "not recorded")),
        "set": str(provenance.pop("set", "not recorded")),
    }
    cells = store.cells()
    if "label" in cells:
        hierarchy = store.path.parent.parent / "ontology" / "hierarchy.parquet"
        labels = cells["label"]
        if hierarchy.is_file():
            labels = labels.map(dict(enumerate(read_parquet(hierarchy)["label"])))
        lines["types"] = _top(labels)
    for name, column in (("studies", "study"), ("donors", "donor")):
        if column in cells:
            lines[name] = _top(cells[column])
    lines |= {key: str(value) for key, value in provenance.items()}
    width = max(map(len, lines)) + 2
    return "\n".join(f"{key + ':':<{width}}{value}" for key, value in lines.items())


def _top(values: pd.Series) -> str:
    counts = values.value_counts()
    counts = counts[counts > 0]
    largest = ", ".join(f"{name} {number:,}" for name, number in counts.head(TOP).items())
    return f"{len(counts):,}; most cells: {largest}"


# Release, its URI, genes and soma_joinids (ascending) → their counts.
ReadCells = Callable[[str, str, pd.DataFrame, np.ndarray], Counts]


def repair_shard(
    store: CellStore, name: str, read_cells: ReadCells, uri: str | None = None
) -> None:
    """Rebuilds one shard from the release it came from; all others stay as they are.

    Args:
        store: the store.
        name: file name of the shard.
        read_cells: reads the release, such as `census.counts.read_cells`.
        uri: where the release lies now; by default where it lay when the store was made.

    Raises:
        UserError: the store does not hold raw counts or does not say where they came from, the
            release cannot be opened, or what it gives is not what the manifest's checksum says.
    """
    provenance = store.manifest["provenance"]
    uri = uri or provenance.get("uri")
    release = provenance.get("release")
    if store.manifest["values"] != "counts" or uri is None or release is None:
        raise UserError(
            f"{store.path} does not say which Census release its counts came from: delete the "
            "folder and run Snakemake again to rebuild it."
        )
    shards = {shard["file"]: shard for shard in store.manifest["shards"]}
    first = sum(shard["cells"] for shard in list(shards.values())[: list(shards).index(name)])
    ids = store.cells()["soma_joinid"].to_numpy()[first : first + shards[name]["cells"]]
    order = np.argsort(ids)
    counts = read_cells(release, uri, store.genes, ids[order])
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    with atomic_path(store.path / name) as rebuilt:
        write_shard(rebuilt, [(ids, counts.take(rank))])
        if sha256_of(rebuilt) != shards[name]["sha256"]:
            raise UserError(
                f"{uri} gives other counts for {store.path / name} than when the store was made: "
                f"delete {store.path} and run Snakemake again to rebuild it."
            )
