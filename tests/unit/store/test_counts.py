import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from hce.store.counts import Counts, check_counts, sort_genes


def dense(counts: Counts, n_genes: int) -> np.ndarray:
    shape = (len(counts), n_genes)
    return sp.csr_matrix((counts.values, counts.genes, counts.indptr), shape=shape).toarray()


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 40))
def test_take_equals_indexing_a_dense_matrix(make_counts, seed, n):
    counts = make_counts(n, 100, seed)
    rows = np.random.default_rng(seed).integers(0, n, 25)
    assert (dense(counts.take(rows), 100) == dense(counts, 100)[rows]).all()


def test_slice_and_concatenate_are_inverse(make_counts):
    counts = make_counts(50, 80)
    parts = [counts.slice(0, 13), counts.slice(13, 13), counts.slice(13, 50)]
    assert (dense(Counts.concatenate(parts), 80) == dense(counts, 80)).all()
    assert len(Counts.concatenate([])) == 0


def test_sort_genes_orders_every_cell_and_keeps_its_counts(make_counts):
    counts = make_counts(30, 60)
    rng = np.random.default_rng(0)
    genes, values = counts.genes.copy(), counts.values.copy()
    for lo, hi in zip(counts.indptr[:-1], counts.indptr[1:], strict=True):
        order = rng.permutation(hi - lo)
        genes[lo:hi], values[lo:hi] = genes[lo:hi][order], values[lo:hi][order]
    assert not (genes == counts.genes).all()
    sort_genes(counts.indptr, genes, values)
    assert (genes == counts.genes).all()
    assert (values == counts.values).all()


@pytest.mark.parametrize("bad", [0.5, -1.0, 65536.0, np.nan, np.inf])
def test_values_that_are_no_raw_counts_are_refused(bad):
    check_counts(np.array([0.0, 1.0, 65535.0]))
    with pytest.raises(ValueError, match="no raw count"):
        check_counts(np.array([1.0, bad]))
