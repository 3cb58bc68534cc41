"""Identical cells are those of a brute-force comparison, whatever their fingerprints."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cells_in_memory import Memory, from_dense
from hce.leakage import duplicates
from hce.leakage.duplicates import fingerprints, identical_cells, only, read_totals
from hce.store.cell_store import CellStore, write_store
from hce.store.counts import Counts
from hce.store.shards import write_shard


def brute_force(tables: list[np.ndarray], must_hold: int | None) -> set[frozenset]:
    """Sets of (store, row) with equal rows, by comparing rows as they are written."""
    found = defaultdict(set)
    for store, dense in enumerate(tables):
        for row, values in enumerate(dense.tolist()):
            if any(values):
                found[tuple(values)].add((store, row))
    return {
        frozenset(cells)
        for cells in found.values()
        if len(cells) > 1 and (must_hold is None or must_hold in {s for s, _ in cells})
    }


def groups_of(table: pd.DataFrame) -> set[frozenset]:
    return {
        frozenset(zip(group["store"], group["row"], strict=True))
        for _, group in table.groupby("group")
    }


def random_tables(rng: np.random.Generator, n_genes: int = 4) -> list[np.ndarray]:
    """Four small stores in which equal cells are frequent."""
    return [rng.integers(0, 3, (n, n_genes)) * rng.integers(0, 2) for n in rng.integers(0, 30, 4)]


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 0, 3]), st.booleans())
@settings(deadline=None, max_examples=40)
def test_identical_cells_are_those_of_a_brute_force_comparison(seed, must_hold, some):
    rng = np.random.default_rng(seed)
    tables = random_tables(rng)
    shared = np.array([True, False, True, True]) if some else None
    found = identical_cells([Memory(from_dense(t)) for t in tables], shared, must_hold)
    kept = [t * shared if some else t for t in tables]
    assert groups_of(found) == brute_force(kept, must_hold)
    assert found["group"].is_monotonic_increasing


def weak(counts: Counts) -> np.ndarray:
    """Two values for all cells, so that most candidates are no equals."""
    return (np.diff(counts.indptr) % 2 + 1).astype(np.uint64)


@pytest.mark.parametrize("chunk", [4, 1 << 15])
def test_colliding_fingerprints_are_not_reported(monkeypatch, chunk):
    monkeypatch.setattr(duplicates, "fingerprints", weak)
    monkeypatch.setattr(duplicates, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    tables = [rng.integers(0, 3, (n, 5)) + np.eye(n, 5, dtype=int) for n in (20, 10, 15)]
    found = identical_cells([Memory(from_dense(t)) for t in tables])
    assert groups_of(found) == brute_force(tables, None)
    assert 0 < len(found) < 45


@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_the_size_of_a_chunk_changes_nothing(monkeypatch, chunk):
    rng = np.random.default_rng(3)
    tables = [rng.integers(0, 3, (n, 3)) for n in (30, 0, 20)]
    expected = identical_cells([Memory(from_dense(t)) for t in tables])
    monkeypatch.setattr(duplicates, "CHUNK", chunk)
    pd.testing.assert_frame_equal(
        identical_cells([Memory(from_dense(t)) for t in tables]), expected
    )
    assert len(expected) > 10


def test_fingerprints_tell_gene_from_count_and_ignore_the_order_of_genes():
    cells = [{3: 5}, {5: 3}, {3: 5, 5: 3}, {3: 4, 5: 4}, {3: 5, 0: 1}, {}, {65535: 65535}]
    parts = [
        Counts(
            np.array([0, len(cell)]),
            np.array(list(cell), dtype=np.uint16),
            np.array(list(cell.values()), dtype=np.uint16),
        )
        for cell in cells
    ]
    prints = fingerprints(Counts.concatenate(parts))
    assert len(set(prints.tolist())) == len(cells)
    assert prints[5] == 0
    mixed = Counts(np.array([0, 2]), np.array([5, 3], np.uint16), np.array([3, 5], np.uint16))
    assert fingerprints(mixed)[0] == prints[2]


def test_random_cells_do_not_collide():
    rng = np.random.default_rng(1)
    dense = rng.integers(0, 4, (20_000, 12))
    different = len(np.unique(dense, axis=0))
    assert len(np.unique(fingerprints(from_dense(dense)))) == different


def test_totals_and_masks_follow_the_dense_matrix(make_counts):
    counts = make_counts(100, 50)
    dense = np.zeros((100, 50), dtype=np.int64)
    for i, (lo, hi) in enumerate(pairwise(counts.indptr)):
        dense[i, counts.genes[lo:hi]] = counts.values[lo:hi]
    np.testing.assert_array_equal(read_totals(Memory(counts)), dense.sum(axis=1))
    shared = np.arange(50) % 3 > 0
    kept = only(counts, shared)
    np.testing.assert_array_equal(read_totals(Memory(kept)), dense[:, shared].sum(axis=1))
    assert shared[kept.genes].all()


def test_real_stores_are_compared(tmp_path, make_counts):
    counts = make_counts(3000, 80)
    genes = pd.DataFrame({"feature_id": [f"G{i}" for i in range(80)], "feature_name": "g"})
    write_shard(tmp_path / "all.arrow", [(np.arange(3000), counts)])
    parts = {"a": np.arange(0, 2000), "b": np.arange(1500, 3000)[::-1]}
    stores = []
    for name, ids in parts.items():
        cells = pd.DataFrame({"soma_joinid": ids})
        write_store(tmp_path / name, [tmp_path / "all.arrow"], cells, genes, {})
        stores.append(CellStore.open(tmp_path / name))
    found = identical_cells(stores, must_hold=1)
    filled = np.flatnonzero(np.diff(counts.indptr) > 5)
    pairs = {frozenset([(0, i), (1, 2999 - i)]) for i in filled if 1500 <= i < 2000}
    assert pairs <= groups_of(found)
    assert len(pairs) > 300
