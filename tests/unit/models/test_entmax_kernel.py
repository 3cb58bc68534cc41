"""entmax15 by the kernels for GPUs, in Triton's interpreter where there is none."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from triton_here import DEVICE  # isort: split

from hce.models import build_model, entmax_kernel, mask, tabnet
from hce.models.entmax import by_kernel, entmax15, entmax15_and_entropy, kernel_works

pytestmark = pytest.mark.gpu


def rows_by_kernel(logits):
    return by_kernel(logits, torch.zeros(logits.shape[1], device=logits.device), 1e-15)[0]


def assert_equal_to_the_cpu(logits, seed=0):
    """Values and gradients in float32, to 1e-5."""
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed))
    here, there = logits.clone().requires_grad_(), logits.to(DEVICE).requires_grad_()
    expected, found = entmax15(here), rows_by_kernel(there)
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-5)
    (expected * weights).sum().backward()
    (found * weights.to(DEVICE)).sum().backward()
    torch.testing.assert_close(there.grad.cpu(), here.grad, rtol=0, atol=1e-5)
    return found.detach().cpu()


def finite(size):
    return st.floats(-size, size, width=32)


@given(
    st.integers(1, 60).flatmap(
        lambda width: st.sampled_from([1e-3, 1.0, 100.0]).flatmap(
            lambda size: arrays(np.float32, (3, width), elements=finite(np.float32(size).item()))
        )
    )
)
@settings(max_examples=30, deadline=None)
def test_any_rows_have_the_values_and_gradients_of_the_cpu(rows):
    result = assert_equal_to_the_cpu(torch.from_numpy(rows))
    torch.testing.assert_close(result.sum(1), torch.ones(3), rtol=0, atol=1e-5)


@pytest.mark.parametrize("support", [1, 2, 64, 1000])
def test_supports_of_every_size_are_found_exactly(support):
    """Equal logits share the sum; all others are too far below to have any."""
    logits = torch.full((2, 1000), -10.0)
    logits[:, :support] = 5.0
    result = assert_equal_to_the_cpu(logits)
    expected = torch.zeros(2, 1000)
    expected[:, :support] = 1 / support
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("width", [1, 19_331])
def test_rows_of_one_entry_and_of_all_genes_are_right(width):
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([1e-4, 1.0, 30.0])[:, None]
    logits = torch.randn(3, width, generator=generator) * spread
    logits[1] = logits[1].round()  # ties
    assert_equal_to_the_cpu(logits)


def test_extreme_logits_are_right():
    largest = torch.finfo(torch.float32).max / 4
    logits = torch.tensor([[1e30, -1e30, 0.0], [-largest, -largest, 0.0], [1e4, 1e4 + 1, 0.0]])
    assert_equal_to_the_cpu(logits)


def test_a_logit_that_is_not_a_number_makes_its_row_so_and_no_other():
    logits = torch.zeros(2, 5)
    logits[1, 3] = float("nan")
    result = rows_by_kernel(logits.to(DEVICE)).cpu()
    assert result.isnan().tolist() == [[False] * 5, [True] * 5]


@pytest.mark.parametrize("size", [0.01, 1.0, 20.0])
def test_the_shift_and_the_entropy_have_the_values_and_gradients_of_float64(size):
    generator = torch.Generator().manual_seed(0)
    logits, weights = size * torch.randn(2, 5, 90, generator=generator)
    shift, of_entropy = torch.randn(90, generator=generator), torch.randn(5, generator=generator)
    made = []
    for function, place in ((by_kernel, DEVICE), (entmax15_and_entropy, torch.device("cpu"))):
        dtype = torch.float32 if function is by_kernel else torch.float64
        inputs = [part.to(place, dtype).requires_grad_() for part in (logits, shift)]
        results = function(*inputs, 1e-15)
        given = [part.to(place, dtype) for part in (weights, of_entropy)]
        made.append([*results, *torch.autograd.grad(results, inputs, given)])
    for found, expected in zip(*made, strict=True):
        torch.testing.assert_close(found.cpu().double(), expected, rtol=1e-5, atol=1e-5)


def test_the_kernel_is_tried_on_a_device_before_it_is_used(monkeypatch, caplog):
    kernel_works.cache_clear()
    monkeypatch.setattr("hce.models.entmax.TRIED", 300)
    assert kernel_works(DEVICE)
    assert caplog.text == ""
    kernel_works.cache_clear()
    monkeypatch.setattr(entmax_kernel, "STEPS", 2)
    assert not kernel_works(DEVICE)
    assert "kernel that computes entmax cannot be used here (it differs" in caplog.text
    kernel_works.cache_clear()


def test_tabnet_with_the_kernel_equals_tabnet_on_the_cpu(monkeypatch):
    shape = {"n_d": 6, "n_a": 5, "n_steps": 2, "virtual_batch_size": 16}
    torch.manual_seed(0)
    x, weights = torch.rand(32, 90) * 4, torch.randn(32, 7)
    models = [build_model("tabnet", 90, 7, **shape) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    models[1].to(DEVICE)
    made = []
    for model, place in zip(models, ("cpu", DEVICE), strict=True):
        if place != "cpu":
            monkeypatch.setattr(tabnet, "has_static_shapes", lambda device: True)
            monkeypatch.setattr(mask, "has_static_shapes", lambda device: True)
            monkeypatch.setattr(mask, "kernel_works", lambda device: True)
            monkeypatch.setattr(tabnet, "entmax15_and_entropy", by_kernel)
        logits = model(x.to(place))
        ((logits * weights.to(place)).mean() + model.penalty()).backward()
        gradients = [value.grad.flatten().cpu() for value in model.parameters()]
        made.append((logits.detach().cpu(), torch.cat(gradients)))
    for found, expected in zip(*made, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
