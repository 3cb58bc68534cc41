"""Processes that train together share out the cells, each of which one of them holds."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hce.batches import on_disk
from hce.batches import part as module
from hce.batches.densify import Augmentation
from hce.batches.part import WHOLE, Part
from hce.batches.placement import open_batches
from hce.store import cell_store
from hce.store.cell_store import CellStore, describe_store
from hce.store.counts import Counts
from hce.store.shards import write_shard

GENES, CELLS = 200, 206
CPU = torch.device("cpu")
PLACES = ["gpu", "host", "disk"]  # of a GPU that is the CPU


@pytest.fixture(params=["counts", "log1p_cp10k"])
def store(make_counts, tmp_path, monkeypatch, request):
    """A store of shards of 50 cells and record batches of 16, the last ones smaller."""
    monkeypatch.setattr("hce.store.shards.BATCH_CELLS", 16)
    counts, shards = make_counts(CELLS, GENES, seed=3), []
    if request.param != "counts":
        counts = Counts(counts.indptr, counts.genes, np.log1p(counts.values, dtype=np.float32))
    for start in range(0, CELLS, 50):
        stop = min(start + 50, CELLS)
        name = f"shard-{start}.arrow"
        block = (np.arange(start, stop), counts.slice(start, stop))
        size = write_shard(tmp_path / name, [block], request.param)
        shards.append({"file": name, "cells": size, "sha256": ""})
    genes = pd.DataFrame({"feature_id": [f"g{i}" for i in range(GENES)], "feature_name": "x"})
    cells = pd.DataFrame({"soma_joinid": np.arange(CELLS)})
    describe_store(tmp_path, request.param, cells, genes, shards, {})
    return CellStore.open(tmp_path)


def parts_of(store, residency, batch_size, world_size, seed=0):
    """The batches of every process; they carry the positions of cells."""
    options = (residency, batch_size, CPU, torch.float32, None, False, np.arange(CELLS))
    return [
        open_batches(store, *options, Part(rank, world_size, seed)) for rank in range(world_size)
    ]


def epoch_of(source, number=0, skip=0):
    rng = np.random.default_rng([7, number])
    return [labels.tolist() for _, labels in source.shuffled(rng, skip)]


@given(n_cells=st.integers(0, 300), world_size=st.integers(1, 9), seed=st.integers(0, 2**40))
def test_every_cell_is_in_one_part_and_parts_are_equally_large(n_cells, world_size, seed):
    parts = [Part(rank, world_size, seed).cells(n_cells) for rank in range(world_size)]
    assert sorted(np.concatenate(parts)) == list(range(n_cells))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert all((np.diff(part) > 0).all() for part in parts)


def test_one_process_has_all_cells_in_order_whatever_the_seed():
    for part in (WHOLE, Part(seed=12)):
        assert Part.cells(part, 50).tolist() == list(range(50))
    rng = np.random.default_rng(3)
    assert WHOLE.random(rng) is rng


def test_another_seed_makes_other_parts_and_the_same_one_the_same():
    divisions = [
        {frozenset(Part(rank, 4, seed).cells(1000).tolist()) for rank in range(4)}
        for seed in (0, 1, 2, 0)
    ]
    assert divisions[0] == divisions[3]
    assert not divisions[0] & divisions[1]
    assert not divisions[0] & divisions[2]
    assert not divisions[1] & divisions[2]


@pytest.mark.parametrize("residency", PLACES)
@pytest.mark.parametrize("world_size", [2, 3])
def test_an_epoch_of_all_processes_together_has_every_cell_once(store, residency, world_size):
    seen = [
        cell
        for source in parts_of(store, residency, 2 * world_size, world_size)
        for batch in epoch_of(source)
        for cell in batch
    ]
    dropped = CELLS % (2 * world_size)  # the last batch, which is not full
    assert len(seen) == len(set(seen)) == CELLS - dropped


@pytest.mark.parametrize("residency", PLACES)
def test_processes_with_parts_of_different_sizes_make_equally_many_batches(store, residency):
    sources = parts_of(store, residency, 23 * 9, 9)  # one cell more than there are
    assert {len(source) for source in sources} == {CELLS}
    sources = parts_of(store, residency, 9, 9)
    assert {len(source.labels) for source in sources} == {22, 23}
    assert {len(epoch_of(source)) for source in sources} == {CELLS // 9}
    assert {len(epoch_of(source, skip=3)) for source in sources} == {CELLS // 9 - 3}


def test_cells_of_two_processes_meet_others_in_another_epoch(store):
    first, second = parts_of(store, "host", 2, 2)
    pairs = [
        {
            (one, other)
            for (one,), (other,) in zip(epoch_of(first, i), epoch_of(second, i), strict=True)
        }
        for i in range(2)
    ]
    assert len(pairs[0] & pairs[1]) < 10


@pytest.mark.parametrize("residency", PLACES)
@pytest.mark.parametrize("world_size", [3, 300])  # 300: some have no cell
def test_a_part_holds_its_cells_as_the_whole_set_does(store, residency, world_size):
    [whole] = parts_of(store, "host", 600, 1)
    [(expression, _)] = whole.in_order()
    expression, seen = expression.clone(), []
    for source in parts_of(store, residency, 600, world_size, seed=5):
        for x, labels in source.in_order():
            assert torch.equal(x, expression[labels])
            seen += labels.tolist()
    assert sorted(seen) == list(range(CELLS))


def test_processes_draw_other_shifts_each_for_its_own_cells(store, monkeypatch):
    drawn, real = [], Augmentation.draw
    monkeypatch.setattr(
        Augmentation, "draw", lambda *given: drawn.append(real(*given)) or drawn[-1]
    )
    for rank in range(2):
        shifts, part = Augmentation(np.ones((9, GENES), np.float32)), Part(rank, 2)
        options = ("host", 20, CPU, torch.float32, shifts, False, np.arange(CELLS), part)
        epoch_of(open_batches(store, *options))
    assert [len(shifts) for shifts in drawn] == [CELLS // 2] * 2
    assert (drawn[0] != drawn[1]).mean() > 0.8


@pytest.mark.parametrize("residency", PLACES)
def test_a_process_reads_the_shards_of_its_part_alone(store, residency, monkeypatch):
    opened, real = set(), cell_store.open_shard

    def watching(path, *arguments, **options):
        opened.add(path.name)
        return real(path, *arguments, **options)

    for module_that_reads in (cell_store, on_disk):
        monkeypatch.setattr(module_that_reads, "open_shard", watching)
    monkeypatch.setattr(module, "BLOCKS", 4)  # as with a large set: a block is a shard
    monkeypatch.setattr(module, "SHARD_CELLS", 50)
    for rank in range(4):
        opened.clear()
        part = Part(rank, 4, seed=1)
        labels = np.arange(CELLS)
        batches = open_batches(store, residency, 8, CPU, torch.float32, None, False, labels, part)
        assert epoch_of(batches)
        assert opened == {f"shard-{cell // 50 * 50}.arrow" for cell in part.cells(CELLS)}
        assert len(opened) < 5
