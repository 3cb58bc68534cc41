"""Mean and variance of genes, beside plain float64."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hce.models import moments as module
from hce.models.moments import moments


def exact(expression):
    plain = expression.detach().double()
    return plain.mean(dim=0), plain.var(dim=0, correction=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(cells=st.integers(1, 140), genes=st.integers(1, 60), seed=st.integers(0, 99))
def test_moments_of_a_batch_are_those_of_plain_float64(dtype, cells, genes, seed):
    rng = np.random.default_rng(seed)
    rows = rng.choice([0, 0, 0, 0.25, 3.3, 9.0], (cells, genes))
    expression = torch.from_numpy(rows).to(dtype)
    for found, right in zip(moments(expression), exact(expression), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), right, rtol=1e-5, atol=2e-6)


def test_threads_do_not_change_a_bit():
    expression, before = torch.rand(200, 90), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(moments(expression))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_genes_that_do_not_vary_have_no_variance():
    _, variance = moments(torch.full((100, 3), 1.7))
    assert (variance >= 0).all()
    assert variance.max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_expression_that_is_differentiated_has_gradients(dtype):
    expression = torch.rand(9, 4, dtype=dtype, requires_grad=True)
    mean, variance = moments(expression)
    assert mean.dtype == variance.dtype == dtype
    (gradient,) = torch.autograd.grad((mean + variance).sum(), expression)
    plain = expression.detach().double()
    right = 1 / 9 + 2 / 9 * (plain - plain.mean(dim=0))
    torch.testing.assert_close(gradient.double(), right, rtol=1e-5, atol=1e-6)


def test_genes_are_added_up_in_several_blocks():
    # The size of a block is compiled into the loop, so more genes than one holds are needed.
    expression = torch.rand(70, 2 * module.CACHED_GENES + 5)
    torch.testing.assert_close(
        moments(expression)[0].double(), exact(expression)[0], rtol=1e-5, atol=1e-6
    )
