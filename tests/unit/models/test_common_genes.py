"""A sparse batch and its two parts hold the same."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hce.models import common_genes
from hce.models.common_genes import split_batch

FULL = np.ones((1, 40), np.float32)
SOME = arrays(np.float32, (7, 40), elements=st.sampled_from([0, 0, 0, 1, 0.3, 9.2, 1e-3]))


def sparse(expression):
    rows = expression.to_sparse_csr()
    indices = rows.crow_indices().int(), rows.col_indices().int()
    return torch.sparse_csr_tensor(*indices, rows.values(), rows.shape, check_invariants=True)


def together(batch, n_genes):
    """The batch, dense, from its parts."""
    whole = torch.zeros(len(batch.dense), n_genes)
    n = len(batch.common)
    whole[:, batch.common] = batch.dense[:, :n].float()
    assert not batch.dense[:, n:].any()
    for row, start, end in zip(whole, batch.starts, batch.ends, strict=True):
        genes = batch.genes[start:end]
        assert not np.isin(genes, batch.common).any()
        row[torch.from_numpy(genes.astype(np.int64))] = torch.from_numpy(batch.values[start:end])
    return whole


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(SOME)
def test_the_parts_of_a_batch_hold_what_it_holds(dtype, some):
    expression = torch.from_numpy(np.concatenate([some, FULL, 0 * FULL])).to(dtype)
    batch = split_batch(sparse(expression))
    assert torch.equal(together(batch, 40), expression.float())
    share = (expression != 0).double().mean(dim=0)
    common = torch.nonzero(share > common_genes.COMMON_SHARE[dtype])[:, 0]
    assert torch.equal(batch.common, common)


def test_of_many_cells_some_are_looked_at(monkeypatch):
    monkeypatch.setattr(common_genes, "LOOKED_AT", 10)
    rows = torch.zeros(100, 3)
    rows[::2, 0] = 1  # every other cell, among them all that are looked at
    rows[1::2, 1] = 1
    batch = split_batch(sparse(rows))
    assert batch.common.tolist() == [0]
    assert torch.equal(together(batch, 3), rows)
