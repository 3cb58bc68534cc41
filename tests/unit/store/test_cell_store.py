import json
import os
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults import many_flips
from hce import checksums
from hce.batches.on_disk import StreamedBatches
from hce.errors import UserError
from hce.store import cell_store
from hce.store.cell_store import CellStore, write_store
from hce.store.counts import Counts
from hce.store.encoding import decode_cells, encode_cells
from hce.store.manifest import bytes_in_memory, read_manifest
from hce.store.shards import read_shard, write_shard


def same(a: Counts, b: Counts) -> bool:
    return (
        (a.indptr == b.indptr).all() and (a.genes == b.genes).all() and (a.values == b.values).all()
    )


@settings(deadline=None)
@given(
    cells=st.lists(
        st.dictionaries(st.integers(0, 65535), st.integers(1, 65535), max_size=8), max_size=12
    )
)
def test_encoding_keeps_every_gene_and_count_of_16_bits(cells):
    counts = Counts(
        np.concatenate([[0], np.cumsum([len(c) for c in cells])]).astype(np.int64),
        np.array([g for c in cells for g in sorted(c)], np.uint16),
        np.array([c[g] for c in cells for g in sorted(c)], np.uint16),
    )
    keys = np.arange(len(cells), dtype=np.int64) * 7
    found_keys, found = decode_cells(encode_cells(keys, counts))
    assert (found_keys == keys).all()
    assert same(found, counts)


@pytest.fixture
def exported(make_counts, tmp_path, monkeypatch):
    """500 cells in three exported shards, and small shards so that several are made."""
    monkeypatch.setattr(cell_store, "SHARD_CELLS", 64)
    monkeypatch.setattr("hce.store.shards.BATCH_CELLS", 16)
    counts = make_counts(500, 300, seed=3)
    ids = np.arange(500, dtype=np.int64) * 3 + 11
    paths = []
    for i, rows in enumerate(np.array_split(np.arange(500), 3)):
        path = tmp_path / f"{i}.arrow"
        write_shard(path, [(ids[rows], counts.take(rows))])
        paths.append(path)
    return paths, ids, counts


def cells_of(ids: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"soma_joinid": ids, "label": (ids % 5).astype(np.int16)})


GENES = pd.DataFrame({"feature_id": [f"G{i}" for i in range(300)], "feature_name": "x"})


def test_a_store_holds_the_chosen_cells_in_the_order_of_its_table(exported, tmp_path):
    paths, ids, counts = exported
    rows = np.random.default_rng(0).permutation(500)[:333]
    store = write_store(tmp_path / "store", paths, cells_of(ids[rows]), GENES, {"release": "r"})
    assert len(store.manifest["shards"]) == 6
    assert same(store.load(), counts.take(rows))
    assert (store.cells()["soma_joinid"] == ids[rows]).all()
    assert store.genes.equals(GENES)
    store.verify()


def test_the_same_cells_make_the_same_bytes(exported, tmp_path):
    paths, ids, _ = exported
    cells = cells_of(ids[::-1])
    a = write_store(tmp_path / "a", paths, cells, GENES, {})
    b = write_store(tmp_path / "b", paths, cells, GENES, {})
    assert a.manifest["shards"] == b.manifest["shards"]


def test_the_manifest_tells_what_the_cells_take_in_memory_to_the_byte(exported, tmp_path):
    paths, ids, _ = exported
    store = write_store(tmp_path / "store", paths, cells_of(ids), GENES, {})
    loaded = store.load()
    exact = loaded.indptr.nbytes + loaded.genes.nbytes + loaded.values.nbytes
    assert bytes_in_memory(read_manifest(tmp_path / "store")) == exact


def test_a_store_of_many_shards_is_made_with_few_open_files_and_the_same_bytes(
    exported, tmp_path, monkeypatch
):
    paths, ids, _ = exported
    cells = cells_of(np.random.default_rng(0).permutation(ids))
    at_once = write_store(tmp_path / "a", paths, cells, GENES, {})
    monkeypatch.setattr(cell_store, "OPEN_BUCKETS", 3)
    opened = []
    real = cell_store._deal

    def dealing(exported, sorted_ids, order, places, buckets):
        opened.append(len(buckets))
        return real(exported, sorted_ids, order, places, buckets)

    monkeypatch.setattr(cell_store, "_deal", dealing)
    in_passes = write_store(tmp_path / "b", paths, cells, GENES, {})
    assert opened == [3, 3, 2]
    assert in_passes.manifest["shards"] == at_once.manifest["shards"]


def test_a_bucket_is_removed_when_its_shard_is_written(exported, tmp_path, monkeypatch):
    """So that, with the exported counts, at most three times the store is on disk, not four."""
    paths, ids, _ = exported
    left = []
    real = cell_store._sort_bucket

    def sorting(bucket, *others):
        left.append(len(list(bucket.parent.iterdir())))
        return real(bucket, *others)

    monkeypatch.setattr(cell_store, "_sort_bucket", sorting)
    write_store(tmp_path / "store", paths, cells_of(ids), GENES, {})
    assert left == [8, 7, 6, 5, 4, 3, 2, 1]


def test_a_missing_cell_is_reported_and_no_store_is_left(exported, tmp_path):
    paths, ids, _ = exported
    with pytest.raises(UserError, match="hold 333 of the 500 cells"):
        write_store(tmp_path / "store", paths[1:], cells_of(ids), GENES, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.arrow", "1.arrow", "2.arrow"]


def test_verify_names_a_changed_shard(exported, tmp_path):
    paths, ids, _ = exported
    store = write_store(tmp_path / "store", paths, cells_of(ids), GENES, {})
    shard = tmp_path / "store" / store.manifest["shards"][2]["file"]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=r"shard-00002\.arrow"):
        store.verify()


def test_a_truncated_shard_is_named(exported):
    paths, _, _ = exported
    paths[0].write_bytes(paths[0].read_bytes()[:-100])
    with pytest.raises(UserError, match=r"0\.arrow is damaged"):
        list(read_shard(paths[0]))


def test_a_folder_without_manifest_is_no_store(tmp_path):
    with pytest.raises(UserError, match="no complete cell store"):
        CellStore.open(tmp_path)


def test_a_store_of_another_format_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match=r"store format 99.*delete it and run Snakemake again"):
        CellStore.open(tmp_path)


@pytest.fixture
def store(exported, tmp_path):
    """The exported cells as a store of eight shards."""
    paths, ids, _ = exported
    return write_store(tmp_path / "store", paths, cells_of(ids), GENES, {})


@pytest.mark.parametrize("entry", ["shards", "nonzeros", "genes"])
def test_a_manifest_that_lacks_an_entry_is_one_sentence(store, entry):
    path = store.path / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest[entry]
    path.write_text(json.dumps(manifest))
    checksums.record(path)
    with pytest.raises(UserError, match=f"manifest.json does not say {entry}: delete"):
        CellStore.open(store.path)


def test_a_manifest_that_is_no_table_of_entries_is_one_sentence(tmp_path):
    (tmp_path / "manifest.json").write_text("[1, 2]")
    with pytest.raises(UserError, match="no complete cell store"):
        CellStore.open(tmp_path)


LOUD = r"is damaged|is not as it was written|counts, but|holds other cells"
READERS = {
    "to memory": CellStore.load,
    "as a stream": lambda store: list(StreamedBatches(store, np.zeros(500, int), 50).in_order()),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("name", ["shard-00003.arrow", "cells.parquet", "manifest.json"])
def test_a_changed_bit_anywhere_in_a_store_is_refused_by_whoever_reads_it(store, name, read):
    read(CellStore.open(store.path))
    for _ in many_flips(store.path / name):
        with pytest.raises(UserError, match=LOUD):
            read(CellStore.open(store.path))
    read(CellStore.open(store.path))


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_table_of_cells_in_another_order_than_the_counts_is_refused(store, read):
    path = store.path / "cells.parquet"
    cells = pd.read_parquet(path)
    cells.iloc[[1, 0, *range(2, len(cells))]].to_parquet(path, index=False)
    checksums.record(path)
    with pytest.raises(UserError, match=r"other cells, or in another order, than .*cells\.parquet"):
        read(store)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_shard_in_the_place_of_another_is_refused(store, read):
    first, second = (store.path / f"shard-0000{i}.arrow" for i in (1, 2))
    held, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(held)
    with pytest.raises(UserError, match=r"shard-00001\.arrow (is damaged|holds other cells)"):
        read(store)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_shard_of_more_cells_in_the_place_of_the_last_is_refused(store, read):
    shards = [store.path / shard["file"] for shard in store.manifest["shards"]]
    shards[-1].write_bytes(shards[0].read_bytes())
    with pytest.raises(UserError, match=r"shard-00007\.arrow (is damaged|holds other cells)"):
        read(store)


def test_a_shard_is_held_to_its_checksum_once_a_process(store, monkeypatch):
    held = []
    real = checksums.crc32c
    monkeypatch.setattr(checksums, "crc32c", lambda content: held.append(1) or real(content))
    batches = StreamedBatches(store, np.zeros(500, int), 50)
    held.clear()
    for _ in range(3):
        for _ in batches.shuffled(np.random.default_rng(0)):
            pass
    assert len(held) == len(store.manifest["shards"])


def test_shards_are_decoded_by_all_cores_at_once(store, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    both, threads, seen = threading.Barrier(2, timeout=60), set(), []

    def use(first, batch, rows):
        if threading.get_ident() not in threads:  # the first of two waits for the other
            threads.add(threading.get_ident())
            both.wait()
        seen.append((first, first + len(rows)))

    store.visit(use)
    starts, ends = zip(*sorted(seen), strict=True)
    assert starts == (0, *ends[:-1])
    assert ends[-1] == len(store)


@pytest.mark.parametrize(
    "cells", [[], [77], [*range(60, 130), 400, 499], range(500)], ids=["no", "one", "some", "all"]
)
def test_some_cells_are_loaded_alone_and_from_their_own_shards(store, monkeypatch, cells):
    cells = np.array(cells, dtype=np.int64)
    expected, opened = store.load().take(cells), set()
    real = cell_store.open_shard

    def watching(path, *arguments, **options):
        opened.add(path.name)
        return real(path, *arguments, **options)

    monkeypatch.setattr(cell_store, "open_shard", watching)
    assert same(store.load(cells), expected)
    assert opened == {f"shard-{shard:05d}.arrow" for shard in cells // 64}


def test_a_store_that_changes_while_it_is_loaded_is_refused(store, monkeypatch):
    starts = store.starts()
    starts[1] += 1
    monkeypatch.setattr(CellStore, "starts", lambda self, cells: starts)
    with pytest.raises(UserError, match="was changed while it was read"):
        store.load()


def test_any_arrow_reader_can_open_a_shard(exported):
    table = pa.ipc.open_file(str(exported[0][0])).read_all()
    assert table.column_names == ["key", "gene_low", "gene_high", "value_low", "value_high"]
