"""A split batch holds what a dense one does."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hce.batches import split
from hce.batches.densify import Augmentation, Densifier
from hce.batches.normalise import SMALL
from hce.batches.split import SplitBatch, Splitter
from hce.store.counts import Counts

GENES = 40
ROWS = arrays(np.uint16, (7, GENES), elements=st.sampled_from([0, 0, 0, 1, 2, SMALL, 65_535]))
EMPTY_AND_FULL = np.stack([np.zeros(GENES), np.ones(GENES)]).astype(np.uint16)


def counts_of(rows, kind="counts"):
    """Sparse counts of dense ones."""
    cells, genes = np.nonzero(rows)
    indptr = np.searchsorted(cells, np.arange(len(rows) + 1))
    values = rows[cells, genes]
    if kind != "counts":
        values = np.log1p(values, dtype=np.float32)
    return Counts(indptr, genes.astype(np.uint16), values)


def both(counts, cells, dtype=torch.float32, shifts=None, augmentation=None):
    """The same cells from a Splitter and from a Densifier."""
    first, second = (Densifier(GENES, len(cells), dtype, augmentation) for _ in range(2))
    return [make(counts, cells, shifts) for make in (Splitter(first), second)]


@pytest.fixture(autouse=True)
def every_batch_is_split(monkeypatch):
    monkeypatch.setattr(split, "SPARSE_SHARE", 1.0)


@pytest.mark.parametrize("kind", ["counts", "log1p_cp10k"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(rows=ROWS)
def test_the_parts_of_a_batch_hold_what_a_dense_batch_does(kind, dtype, rows):
    rows = np.concatenate([rows, EMPTY_AND_FULL])
    cells = np.arange(len(rows))[::-1].copy()
    batch, dense = both(counts_of(rows, kind), cells, dtype)
    assert isinstance(batch, SplitBatch)
    assert torch.equal(batch.to_dense(), dense)
    n = len(batch.common)
    assert not batch.dense[:, n:].any()
    assert not np.isin(batch.genes, batch.common).any()
    assert torch.equal(torch.from_numpy(batch.values), torch.from_numpy(batch.values).to(dtype))
    share = (rows != 0).mean(axis=0)
    assert batch.common.tolist() == np.flatnonzero(share > split.COMMON_SHARE[dtype]).tolist()


def test_of_many_cells_some_are_looked_at(monkeypatch):
    monkeypatch.setattr(split, "LOOKED_AT", 10)
    rows = np.zeros((100, GENES), np.uint16)
    rows[::2, 0] = 1  # every other cell, among them all that are looked at
    rows[1::2, 1] = 1
    batch, dense = both(counts_of(rows), np.arange(100))
    assert batch.common.tolist() == [0]
    assert torch.equal(batch.to_dense(), dense)


def test_a_batch_is_valid_until_as_many_others_are_made_as_there_are_buffers():
    counts = counts_of(np.arange(1, 3 * GENES + 1, dtype=np.uint16).reshape(3, GENES) % 7)
    splitter = Splitter(Densifier(GENES, 1, buffers=2))
    first, second = (splitter(counts, np.array([cell]), None) for cell in (0, 1))
    dense = Densifier(GENES, 3)(counts, np.arange(3), None)
    assert torch.equal(torch.cat([first.to_dense(), second.to_dense()]), dense[:2])
    splitter(counts, np.array([2]), None)
    assert torch.equal(second.to_dense(), dense[1:2])
    assert not torch.equal(first.to_dense(), dense[:1])


def test_batches_that_gain_nothing_from_it_are_dense(monkeypatch):
    counts, cells = counts_of(np.concatenate([EMPTY_AND_FULL] * 3)), np.arange(6)
    augmentation = Augmentation(np.ones((2, GENES), np.float32))
    shifted, dense = both(counts, cells, shifts=np.arange(6) % 4, augmentation=augmentation)
    assert torch.equal(shifted, dense)
    monkeypatch.setattr(split, "SPARSE_SHARE", 0.49)
    full, dense = both(counts, cells)
    assert torch.equal(full, dense)
