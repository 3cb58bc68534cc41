import numpy as np
import pytest
import scanpy
import scipy.sparse as sp
import torch
from anndata import AnnData

from hce.batches.in_memory import Batches


@pytest.fixture
def batches(make_counts):
    counts = make_counts(103, 200)
    return Batches(counts, np.arange(103) % 4, n_genes=200, batch_size=20)


def test_expression_equals_scanpys_normalisation(batches):
    counts = batches.counts
    matrix = sp.csr_matrix((counts.values, counts.genes, counts.indptr), shape=(103, 200))
    expected = AnnData(matrix.astype(np.float32))
    scanpy.pp.normalize_total(expected, target_sum=1e4)
    scanpy.pp.log1p(expected)
    found = np.concatenate([x.numpy().copy() for x, _ in batches.in_order()])
    np.testing.assert_allclose(found, expected.X.toarray(), rtol=1e-5)


def test_in_order_yields_every_cell_once(batches):
    labels = np.concatenate([y.numpy() for _, y in batches.in_order()])
    assert (labels == np.arange(103) % 4).all()


def test_shuffled_yields_full_batches_of_distinct_cells_and_drops_the_rest(batches):
    batches.labels = torch.arange(103)
    seen = [y.numpy().copy() for _, y in batches.shuffled(np.random.default_rng(0))]
    assert [len(y) for y in seen] == [20] * 5
    assert len(np.unique(np.concatenate(seen))) == 100
    again = [y.numpy().copy() for _, y in batches.shuffled(np.random.default_rng(0))]
    assert all((a == b).all() for a, b in zip(seen, again, strict=True))
    other = [y.numpy().copy() for _, y in batches.shuffled(np.random.default_rng(1))]
    assert not all((a == b).all() for a, b in zip(seen, other, strict=True))


def test_labels_stay_with_their_cells_when_shuffled(batches):
    whole = np.concatenate([x.numpy().copy() for x, _ in batches.in_order()])
    batches.labels = torch.arange(103)
    for x, y in batches.shuffled(np.random.default_rng(5)):
        np.testing.assert_array_equal(x.numpy(), whole[y.numpy()])
