"""Dense masks on expression by the kernels for GPUs, or in Triton's interpreter."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from triton_here import DEVICE  # isort: split

from hce.batches.rows import ALIGNED, aligned_rows
from hce.models import mask as module
from hce.models.mask import DenseMask, by_kernel, kernel_works, masked

pytestmark = pytest.mark.gpu


def parts(n_cells, n_genes, dtype=torch.float32, seed=0):
    """Mask, expression as batches have it, scale and shift."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(n_cells, n_genes, generator=generator)
    values[values < 0.5] = 0
    expression = aligned_rows(n_cells, n_genes, dtype, DEVICE)
    expression.copy_(9 * torch.rand(n_cells, n_genes, generator=generator))
    return values, expression, *torch.randn(2, n_genes, generator=generator)


def with_gradients(function, values, expression, scale, shift, given):
    inputs = [part.clone().requires_grad_() for part in (values, scale, shift)]
    made = function(inputs[0], expression, *inputs[1:])
    given = torch.nn.functional.pad(given, (0, made.shape[1] - given.shape[1]))
    gradients = torch.autograd.grad(made, inputs, given.to(made))
    return made.detach(), *gradients


@given(st.integers(1, 70), st.integers(1, 40), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_values_and_gradients_are_those_of_float64(n_cells, n_genes, seed):
    values, expression, scale, shift = parts(n_cells, n_genes, seed=seed)
    given = torch.randn(n_cells, n_genes)
    on_card = (part.to(DEVICE) for part in (values, expression, scale, shift, given))
    found = with_gradients(by_kernel, *on_card)
    exact = (part.cpu().double() for part in (values, expression, scale, shift, given))
    expected = with_gradients(masked, *exact)
    assert found[0].shape[1] % ALIGNED == 0
    assert found[0][:, n_genes:].abs().sum() == 0
    for part, wanted in zip((found[0][:, :n_genes], *found[1:]), expected, strict=True):
        torch.testing.assert_close(part.cpu().double(), wanted, rtol=1e-5, atol=1e-4)


def test_bfloat16_expression_gives_bfloat16_products():
    values, expression, scale, shift = parts(9, 30, torch.bfloat16)
    made = by_kernel(values.to(DEVICE), expression, scale.to(DEVICE), shift.to(DEVICE))
    assert made.dtype == torch.bfloat16
    expected = masked(values, expression.cpu().float(), scale, shift)
    torch.testing.assert_close(made[:, :30].cpu().float(), expected, rtol=2**-7, atol=1e-3)


def test_the_product_with_the_weights_is_that_of_the_masked_expression(monkeypatch):
    monkeypatch.setattr(module, "has_static_shapes", lambda device: True)
    values, expression, scale, shift = (part.to(DEVICE) for part in parts(9, 30))
    weight = torch.randn(4, 30, device=DEVICE)
    made = DenseMask(values, values.sum()).product(expression, scale, shift, weight)
    expected = masked(values, expression, scale, shift) @ weight.mT
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)


def test_the_kernel_is_tried_on_a_device_before_it_is_used(monkeypatch, caplog):
    kernel_works.cache_clear()
    monkeypatch.setattr(module, "TRIED", (70, 60))
    assert kernel_works(DEVICE)
    assert caplog.text == ""
    kernel_works.cache_clear()
    monkeypatch.setattr(module, "by_kernel", lambda *inputs: by_kernel(*inputs) * 1.001)
    assert not kernel_works(DEVICE)
    assert "kernel that masks genes cannot be used here (it differs" in caplog.text
    kernel_works.cache_clear()
