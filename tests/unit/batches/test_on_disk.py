"""Batches from disk, beside those from memory."""

import os
import subprocess
import sys
import threading
import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from hce.batches import on_disk
from hce.batches.in_memory import Batches
from hce.batches.on_disk import StreamedBatches
from hce.errors import UserError
from hce.store import cell_store
from hce.store.cell_store import CellStore, describe_store, write_store
from hce.store.counts import Counts
from hce.store.encoding import decode_into
from hce.store.shards import write_shard

GENES = 300


@pytest.fixture
def make_store(make_counts, tmp_path, monkeypatch):
    """A store of 500 cells in shards of 64 and record batches of 16, the last ones smaller."""
    monkeypatch.setattr(cell_store, "SHARD_CELLS", 64)
    monkeypatch.setattr("hce.store.shards.BATCH_CELLS", 16)

    def make(kind: str = "counts") -> tuple[CellStore, Counts]:
        counts = make_counts(500, GENES, seed=3)
        if kind == "log1p_cp10k":
            counts = Counts(counts.indptr, counts.genes, np.log1p(counts.values, dtype=np.float32))
        shards = []
        for start in range(0, 500, 70):
            stop = min(start + 70, 500)
            name = f"shard-{start}.arrow"
            block = (np.arange(start, stop), counts.slice(start, stop))
            size = write_shard(tmp_path / name, [block], kind)
            shards.append({"file": name, "cells": size, "sha256": ""})
        genes = pd.DataFrame({"feature_id": [f"g{i}" for i in range(GENES)], "feature_name": "x"})
        cells = pd.DataFrame({"soma_joinid": np.arange(500)})
        describe_store(tmp_path, kind, cells, genes, shards, {})
        return CellStore.open(tmp_path), counts

    return make


def both(make_store, kind="counts", batch_size=24, buffer_cells=50):
    store, counts = make_store(kind)
    numbers = np.arange(500)
    streamed = StreamedBatches(store, numbers, batch_size, buffer_cells=buffer_cells)
    return streamed, Batches(counts, numbers, GENES, batch_size)


def collect(batches):
    expression, labels = zip(*((x.clone(), y.clone()) for x, y in batches), strict=True)
    return [len(y) for y in labels], torch.cat(expression), torch.cat(labels).numpy()


@pytest.mark.parametrize("kind", ["counts", "log1p_cp10k"])
@pytest.mark.parametrize("buffer_cells", [1, 16, 50, 10_000])
def test_in_order_equals_the_batches_from_memory(make_store, kind, buffer_cells):
    streamed, memory = both(make_store, kind, buffer_cells=buffer_cells)
    found, expected = collect(streamed.in_order()), collect(memory.in_order())
    assert found[0] == expected[0]
    assert torch.equal(found[1], expected[1])
    assert (found[2] == expected[2]).all()


@pytest.mark.parametrize("kind", ["counts", "log1p_cp10k"])
@pytest.mark.parametrize("batch_size", [1, 16, 20, 24, 70])
@pytest.mark.parametrize("buffer_cells", [1, 50, 10_000])
def test_an_epoch_has_every_cell_once_with_its_own_expression(
    make_store, kind, batch_size, buffer_cells
):
    streamed, memory = both(make_store, kind, batch_size, buffer_cells)
    sizes, expression, cells = collect(streamed.shuffled(np.random.default_rng(1)))
    # Full batches only, and so all cells but those of the last batch that is not full.
    assert sizes == [batch_size] * (500 // batch_size)
    assert len(np.unique(cells)) == len(cells)
    whole = collect(memory.in_order())[1]
    assert torch.equal(expression, whole[cells])


def test_the_seed_decides_the_order(make_store):
    streamed, _ = both(make_store)
    orders = [collect(streamed.shuffled(np.random.default_rng(seed)))[2] for seed in (1, 1, 2)]
    assert (orders[0] == orders[1]).all()
    assert (orders[0] != orders[2]).any()


def test_cells_come_from_far_apart_within_a_batch_and_move_between_epochs(make_store):
    streamed, _ = both(make_store, batch_size=32, buffer_cells=128)
    _, _, cells = collect(streamed.shuffled(np.random.default_rng(0)))
    spread = [np.ptp(batch) for batch in np.split(cells, len(cells) // 32)]
    assert np.median(spread) > 250
    assert abs(np.corrcoef(np.arange(len(cells)), cells)[0, 1]) < 0.3
    steps = np.diff(cells)
    assert (steps == 1).mean() < 0.1


def test_record_batches_are_decoded_by_all_cores_at_once(make_store, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    meeting, threads = threading.Barrier(2, timeout=60), set()

    def decode(*arguments):
        if threading.get_ident() not in threads:  # the first of two waits for the other
            threads.add(threading.get_ident())
            meeting.wait()
        decode_into(*arguments)

    monkeypatch.setattr(on_disk, "decode_into", decode)
    streamed, memory = both(make_store)
    assert torch.equal(collect(streamed.in_order())[1], collect(memory.in_order())[1])
    assert len(threads) == 2


def test_record_batches_are_unpacked_by_all_cores_before_their_shard_is_closed(
    make_store, monkeypatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    meeting, threads, opened = threading.Barrier(2, timeout=60), set(), on_disk.open_shard

    @contextmanager
    def open_shard(*arguments, **others):
        with opened(*arguments, **others) as reader:
            at_hand = [True]

            def unpack(number):
                if threading.get_ident() not in threads:
                    threads.add(threading.get_ident())
                    meeting.wait()
                assert at_hand
                return reader.get_batch(number)

            yield SimpleNamespace(get_batch=unpack)
            at_hand.clear()

    streamed, memory = both(make_store)
    monkeypatch.setattr(on_disk, "open_shard", open_shard)
    assert torch.equal(collect(streamed.in_order())[1], collect(memory.in_order())[1])
    assert len(threads) == 2


def test_a_record_batch_that_cannot_be_unpacked_is_the_shards_damage(make_store, monkeypatch):
    def fails(number):
        raise pa.ArrowInvalid("it is torn")

    @contextmanager
    def open_shard(*arguments, **others):
        yield SimpleNamespace(get_batch=fails)

    streamed, _ = both(make_store)
    monkeypatch.setattr(on_disk, "open_shard", open_shard)
    with pytest.raises(UserError, match=r"\.arrow is damaged \(it is torn\)"):
        next(streamed.in_order())


def test_a_store_smaller_than_a_batch_is_refused_for_training_and_read_whole_in_order(make_store):
    streamed, _ = both(make_store, batch_size=2048)
    with pytest.raises(UserError, match=r"500 training cells, fewer than training\.batch_size"):
        list(streamed.shuffled(np.random.default_rng(0)))
    assert collect(streamed.in_order())[0] == [500]
    assert len(streamed) == 500


def test_what_a_shard_has_given_is_not_kept_until_its_end(make_store):
    streamed, _ = both(make_store)
    given = []
    for _, batch in streamed._read(rng=None):
        given.append(weakref.ref(batch.result()))
        assert sum(kept() is not None for kept in given) <= 2


def test_a_damaged_shard_is_named_with_its_cure(make_store):
    store, _ = make_store()
    file = store.path / "shard-70.arrow"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=r"shard-70\.arrow is damaged.*hce store .* --repair"):
        StreamedBatches(store, np.zeros(500), 16)


def test_a_shard_that_lacks_its_last_cells_is_named(make_store, make_counts):
    store, _ = make_store()
    file = sorted(store.path.glob("shard-*.arrow"), key=lambda path: int(path.stem[6:]))[-1]
    start = int(file.stem[6:])
    kept = np.arange(start, len(store) - 1)
    write_shard(file, [(kept, make_counts(len(kept), 60, seed=0))])
    with pytest.raises(UserError, match=rf"{file.name} holds other cells"):
        StreamedBatches(store, np.zeros(500), 16)


MEASURE = """
import resource, sys
import numpy as np
from hce.store.cell_store import CellStore
from hce.batches.on_disk import StreamedBatches
store = CellStore.open(sys.argv[1])
batches = StreamedBatches(store, np.zeros(len(store)), 256, buffer_cells=4096)
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
cells = sum(len(cells) for cells, _ in batches.sparse(np.random.default_rng(0)))
assert cells == len(store)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024)
"""


def test_memory_does_not_grow_with_the_store(tmp_path, repository):
    rng = np.random.default_rng(0)
    grown = []
    for name, shards in (("small", 2), ("large", 20)):
        folder = tmp_path / name
        folder.mkdir()
        n, nnz = 4096, 800
        genes = np.sort(rng.integers(0, 2000, (n, nnz)).astype(np.uint16), axis=1).ravel()
        values = rng.integers(1, 60, n * nnz).astype(np.uint16)
        counts = Counts(np.arange(n + 1, dtype=np.int64) * nnz, genes, values)
        entries = []
        for i in range(shards):
            write_shard(folder / f"{i}.arrow", [(np.arange(i * n, (i + 1) * n), counts)])
            entries.append({"file": f"{i}.arrow", "cells": n, "sha256": ""})
        gene_table = pd.DataFrame({"feature_id": [str(i) for i in range(2000)], "feature_name": ""})
        cells = pd.DataFrame({"soma_joinid": np.arange(n * shards)})
        describe_store(folder, "counts", cells, gene_table, entries, {})
        command = [sys.executable, "-c", MEASURE, str(folder)]
        done = subprocess.run(
            command, cwd=repository / "scripts", capture_output=True, text=True, check=True
        )
        grown.append(int(done.stdout))
    # The large store has 260 MB of counts; the buffer takes 13, and mapped pages of the files and
    # what Arrow unpacks come on top.
    assert grown[1] < grown[0] + 80


def test_a_store_opens_each_shard_once_an_epoch(make_counts, tmp_path, monkeypatch):
    monkeypatch.setattr("hce.store.shards.BATCH_CELLS", 16)
    monkeypatch.setattr("hce.store.cell_store.SHARD_CELLS", 64)
    ids = np.arange(640, dtype=np.int64)
    write_shard(tmp_path / "0.arrow", [(ids, make_counts(640, 50, seed=1))])
    cells = pd.DataFrame({"soma_joinid": ids, "label": ids % 3})
    genes = pd.DataFrame({"feature_id": [f"E{i}" for i in range(50)], "feature_name": "g"})
    store = write_store(tmp_path / "store", [tmp_path / "0.arrow"], cells, genes, {})
    opened = []
    real = on_disk.open_shard

    def counting(path, *arguments, **options):
        opened.append(path.name)
        assert options.get("at_once") or "columns" in options
        return real(path, *arguments, **options)

    batches = on_disk.StreamedBatches(store, ids % 3, 32, buffer_cells=64)
    monkeypatch.setattr(on_disk, "open_shard", counting)
    for _ in range(2):
        opened.clear()
        assert sum(len(labels) for _, labels in batches.shuffled(np.random.default_rng(0))) == 640
        assert sorted(opened) == [shard["file"] for shard in store.manifest["shards"]]
