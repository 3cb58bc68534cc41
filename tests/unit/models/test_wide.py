"""A product takes in what lies between aligned rows only where that changes nothing."""

import pytest
import torch
from torch.nn import functional

from hce.batches.rows import ALIGNED, aligned_rows
from hce.models import build_model
from hce.models.wide import wide_linear

CPU = torch.device("cpu")
GENES = 21


def batch(n_rows=6, width=GENES, dtype=torch.float32):
    rows = aligned_rows(n_rows + 2, width, dtype, CPU)[:n_rows]
    return rows.copy_(torch.rand(n_rows, width))


@pytest.fixture
def widths(monkeypatch):
    """Of the products that are taken."""
    seen, linear = [], functional.linear

    def noting(x, *others):
        seen.append(x.shape[1])
        return linear(x, *others)

    monkeypatch.setattr(functional, "linear", noting)
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_begin_at_multiples_of_16_bytes_and_zeros_lie_between(dtype):
    for width in (1, 8, GENES, 19_331):
        rows = aligned_rows(3, width, dtype, CPU)
        assert rows.shape == (3, width)
        assert rows.stride(0) * rows.element_size() % 16 == 0
        assert rows.stride(0) - width < ALIGNED
        rows.fill_(1)
        assert rows.untyped_storage().nbytes() == 3 * rows.stride(0) * rows.element_size()
        assert rows.as_strided((3, rows.stride(0)), rows.stride())[:, width:].sum() == 0


def test_values_and_gradients_are_those_of_the_rows_alone(widths):
    x, given = batch(), torch.rand(6, 5)
    made = []
    for rows in (x, x.contiguous()):
        weight, bias = torch.ones(5, GENES, requires_grad=True), torch.ones(5, requires_grad=True)
        out = wide_linear(rows, weight, bias)
        made.append((out.detach(), *torch.autograd.grad(out, (weight, bias), given)))
    assert widths == [24, GENES]
    for found, expected in zip(*made, strict=True):
        assert found.is_contiguous()
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "rows",
    [
        torch.rand(6, 24)[:, ::2],  # numbers between
        torch.rand(6, 40)[:, :GENES],  # too much between
        torch.rand(6, 23)[:, :GENES],  # not aligned
        torch.rand(5 * 24 + GENES).as_strided((6, GENES), (24, 1)),  # nothing after the last
        torch.rand(1, GENES).expand(6, GENES),
    ],
)
def test_other_rows_are_taken_as_they_are(widths, rows):
    weight = torch.rand(4, rows.shape[1])
    torch.testing.assert_close(wide_linear(rows, weight), rows @ weight.mT)
    assert widths == [rows.shape[1]]


@pytest.mark.parametrize("name", ["linear", "mlp", "tabnet"])
def test_models_take_the_first_product_over_whole_rows(widths, name):
    model = build_model(name, GENES, 4).eval()
    x = batch()
    logits = model(x)
    assert widths[0] == 24
    torch.testing.assert_close(logits, model(x.contiguous()), rtol=1e-4, atol=1e-5)
