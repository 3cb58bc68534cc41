"""Gated layers with ghost normalisation by the kernels for GPUs, in Triton's interpreter."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from triton_here import DEVICE  # isort: split

from hce.models import build_model, gated, gated_kernel
from hce.models.gated import by_kernel, gated_norm, kernel_works
from hce.models.ghost_norm import GhostBatchNorm

pytestmark = pytest.mark.gpu


def layer(width, length, dtype=torch.float32, seed=0):
    """A normalisation whose weights are not those of the beginning."""
    generator = torch.Generator().manual_seed(seed)
    norm = GhostBatchNorm(2 * width, length, 0.3)
    with torch.no_grad():
        norm.bn.weight.copy_(torch.randn(2 * width, generator=generator))
        norm.bn.bias.copy_(torch.randn(2 * width, generator=generator))
    return norm.to(dtype)


def numbers(make, norm, product, weights):
    """Output, gradients and running statistics, in float64 on the CPU."""
    product = product.clone().requires_grad_()
    out = make(product, norm)
    inputs = (product, norm.bn.weight, norm.bn.bias)
    gradients = torch.autograd.grad(out, inputs, weights.to(out))
    found = (out.detach(), *gradients, norm.bn.running_mean, norm.bn.running_var)
    assert int(norm.bn.num_batches_tracked) == len(product) // norm.size
    return [part.double().cpu() for part in found]


def plain(product, norm):
    return functional.glu(norm(product), dim=1)


def assert_equal(width, length, parts, size, seed=0):
    """To 1e-5 in float32, against float64 and against the CPU's path."""
    generator = torch.Generator().manual_seed(seed)
    product = size * torch.randn(parts * length, 2 * width, generator=generator) + size
    weights = torch.randn(parts * length, width, generator=generator)
    norm = layer(width, length, seed=seed).to(DEVICE)
    found = numbers(lambda x, n: by_kernel(x, n, length), norm, product.to(DEVICE), weights)
    for dtype in (torch.float64, torch.float32):
        norm = layer(width, length, dtype, seed)
        expected = numbers(plain, norm, product.to(dtype), weights)
        for a, b in zip(found, expected, strict=True):
            scale = b.abs().max().clamp_min(1e-30)
            torch.testing.assert_close(a / scale, b / scale, rtol=0, atol=1e-5)


@given(st.integers(1, 40), st.integers(2, 70), st.integers(1, 3), st.sampled_from([0.1, 1.0, 30.0]))
@settings(max_examples=15, deadline=None)
def test_values_gradients_and_statistics_are_those_of_float64(width, length, parts, size):
    if length == 2:  # two values are ±1 whatever they are, and all gradients are rounding
        length = 3
    assert_equal(width, length, parts, size)


def test_the_papers_layers_are_right():
    assert_equal(192, 256, 2, 1.0)


def test_the_longest_parts_are_right(monkeypatch):
    monkeypatch.setattr(gated_kernel, "TILE", 64)  # fewer entries than cells: a column at a time
    assert_equal(5, 100, 2, 1.0)


def test_a_column_that_is_constant_has_its_bias_and_hardly_a_gradient():
    norm = layer(3, 8).to(DEVICE)
    product = torch.full((16, 6), 2.5, device=DEVICE, requires_grad=True)
    out = by_kernel(product, norm, 8)
    value, gate = norm.bn.bias.chunk(2)
    torch.testing.assert_close(out, (value * gate.sigmoid()).expand(16, 3))
    out.sum().backward()
    assert product.grad.abs().max() < 1e-4  # rounding, times 1 / sqrt(eps)


def test_bfloat16_products_are_normalised_in_float32():
    product = torch.randn(64, 10).bfloat16()
    norm = layer(5, 32)
    expected = plain(product.float(), norm)
    out = by_kernel(product.to(DEVICE).requires_grad_(), layer(5, 32).to(DEVICE), 32)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.cpu(), expected, rtol=1e-5, atol=1e-5)


def test_a_number_that_is_none_shows_in_its_columns():
    product = torch.randn(16, 6, device=DEVICE)
    product[3, 4] = float("nan")
    out = by_kernel(product, layer(3, 8).to(DEVICE), 8).cpu()
    assert out.isnan().any(dim=0).tolist() == [False, True, False]
    assert out[:8, 1].isnan().all()


def test_the_kernel_is_tried_on_a_device_before_it_is_used(monkeypatch, caplog):
    kernel_works.cache_clear()
    monkeypatch.setattr(gated, "TRIED", (32, 20))
    assert kernel_works(DEVICE)
    assert caplog.text == ""
    kernel_works.cache_clear()
    monkeypatch.setattr(gated, "by_kernel", lambda x, norm, n: by_kernel(x, norm, n) * 1.001)
    assert not kernel_works(DEVICE)
    assert "kernel that normalises the gated layers of TabNet cannot be used" in caplog.text
    kernel_works.cache_clear()


@pytest.mark.parametrize(("cells", "by_kernels"), [(32, 6), (33, 0)])
def test_tabnet_with_the_kernel_where_parts_are_equal_is_tabnet_on_the_cpu(
    monkeypatch, cells, by_kernels
):
    """Of 33 cells, parts have 17 and 16."""
    shape = {"n_d": 6, "n_a": 5, "n_steps": 1, "n_independent": 2, "n_shared": 1}
    x, weights, made, calls = torch.rand(cells, 90) * 4, torch.randn(cells, 7), [], []
    for kernel in (False, True):
        if kernel:
            monkeypatch.setattr(gated, "_on_gpu", lambda product: True)
            monkeypatch.setattr(gated, "kernel_works", lambda device: True)
            monkeypatch.setattr(gated, "by_kernel", lambda *a: calls.append(1) or by_kernel(*a))
        torch.manual_seed(0)
        place = DEVICE if kernel else torch.device("cpu")
        model = build_model("tabnet", 90, 7, virtual_batch_size=16, **shape).to(place)
        logits = model(x.to(place))
        ((logits * weights.to(place)).mean() + model.penalty()).backward()
        gradients = torch.cat([value.grad.flatten() for value in model.parameters()])
        made.append([part.detach().cpu() for part in (logits, gradients, *model.buffers())])
    assert len(calls) == by_kernels
    for expected, found in zip(*made, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_in_evaluation_there_is_no_kernel(monkeypatch):
    monkeypatch.setattr(gated, "_on_gpu", lambda product: True)
    monkeypatch.setattr(gated, "by_kernel", None)
    norm, product = layer(5, 16).eval(), torch.randn(32, 10)
    assert torch.equal(gated_norm(product, norm), plain(product, norm))
