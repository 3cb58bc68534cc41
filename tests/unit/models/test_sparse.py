"""Products of split batches, beside those of dense ones and plain float64."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from hce.batches import split
from hce.batches.in_memory import Batches
from hce.batches.split import SplitBatch
from hce.losses import build_loss
from hce.models import build_model, takes_sparse
from hce.models import sparse as products
from hce.store.counts import Counts
from hce.training.device import compute_logits
from hce.training.loop import training_step

CELLS, GENES, TYPES = 90, 301, 13


@pytest.fixture(autouse=True)
def same_number_of_threads_afterwards():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def counts(share=0.1, seed=0):
    """Cells of very different sizes; the first and the last are empty."""
    rng = np.random.default_rng(seed)
    shares = rng.uniform(0, 2 * share, CELLS)
    shares[[0, -1]] = 0
    genes = [np.flatnonzero(rng.random(GENES) < one) for one in shares]
    indptr = np.concatenate([[0], np.cumsum([len(cell) for cell in genes])])
    values = rng.geometric(0.5, indptr[-1]).astype(np.uint16)
    return Counts(indptr, np.concatenate(genes).astype(np.uint16), values)


def batches(sparse, share=0.1, **options):
    return Batches(counts(share), np.arange(CELLS) % TYPES, GENES, 30, sparse=sparse, **options)


def make_common(share, monkeypatch):
    monkeypatch.setattr(split, "COMMON_SHARE", dict.fromkeys(split.COMMON_SHARE, share))


@pytest.mark.parametrize("common_share", [0.05, 0.15, 1])  # most genes, some genes, no gene dense
@pytest.mark.parametrize("cached", [products.CACHED, 5000])  # genes in one range and in several
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("types", [2, 13, 67])
def test_logits_and_gradients_of_sparse_batches_are_those_of_plain_float64(
    types, threads, cached, common_share, monkeypatch
):
    make_common(common_share, monkeypatch)
    monkeypatch.setattr(products, "CACHED", cached)
    torch.set_num_threads(threads)
    model = build_model("linear", GENES, types)
    [(x, _), *_] = batches(sparse=True).in_order()
    logits = model(x)
    outer = torch.randn_like(logits)
    logits.backward(outer)
    dense = x.to_dense().double()
    exact = dense @ model.weight.double().mT + model.bias.double()
    torch.testing.assert_close(logits.double(), exact, rtol=1e-5, atol=1e-5)
    gradient = outer.double().mT @ dense
    torch.testing.assert_close(model.weight.grad.double(), gradient, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        model.bias.grad.double(), outer.double().sum(dim=0), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("common_share", [0.05, 0.15, 1])
def test_in_bfloat16_logits_and_gradients_of_sparse_batches_are_those_of_dense_ones(
    common_share, monkeypatch
):
    make_common(common_share, monkeypatch)
    x, dense = (
        next(batches(sparse, dtype=torch.bfloat16).in_order())[0] for sparse in (True, False)
    )
    assert isinstance(x, SplitBatch)
    assert torch.equal(x.to_dense(), dense)
    model = build_model("linear", GENES, TYPES)
    logits = compute_logits(model, x)
    exact = dense.double() @ model.weight.double().mT + model.bias.double()
    torch.testing.assert_close(logits.double(), exact, rtol=1e-2, atol=5e-2)
    outer = torch.randn_like(logits)
    logits.backward(outer)
    gradient = outer.double().mT @ dense.double()
    torch.testing.assert_close(model.weight.grad.double(), gradient, rtol=1e-2, atol=0.2)


def test_a_batch_without_any_count_has_the_bias_as_logits_and_no_gradient_of_weights():
    nothing = Counts(np.zeros(5, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint16))
    [(x, _)] = Batches(nothing, np.zeros(4, int), GENES, 4, sparse=True).in_order()
    model = build_model("linear", GENES, TYPES)
    logits = model(x)
    assert torch.equal(logits, model.bias.expand(4, TYPES))
    logits.sum().backward()
    assert not model.weight.grad.any()


def test_products_are_the_same_to_the_bit_with_any_number_of_threads_and_any_cache(monkeypatch):
    found = []
    make_common(1, monkeypatch)  # the others' dense product is torch's
    for threads, cached in ((1, 2**19), (2, 5000), (5, 300)):
        torch.set_num_threads(threads)
        monkeypatch.setattr(products, "CACHED", cached)
        torch.manual_seed(0)
        model = build_model("linear", GENES, TYPES)
        [(x, _), *_] = batches(sparse=True).in_order()
        logits = model(x)
        logits.backward(torch.linspace(-1, 1, logits.numel()).view_as(logits))
        found.append((logits, model.weight.grad))
    for logits, gradient in found[1:]:
        assert torch.equal(logits, found[0][0])
        assert torch.equal(gradient, found[0][1])


@pytest.mark.parametrize("name", ["ce", "hce"])
def test_training_on_sparse_batches_gives_the_weights_of_training_on_dense_ones(name):
    found = []
    for sparse in (True, True, False):
        torch.manual_seed(0)
        model = build_model("linear", GENES, TYPES)
        reachability = torch.ones(TYPES, TYPES, dtype=torch.bool).triu()
        loss = build_loss(name, reachability, torch.ones(TYPES))
        # Not Adam, whose steps are as large where a gradient is nothing but rounding.
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for x, y in batches(sparse).shuffled(np.random.default_rng(0)):
            training_step(model, loss, optimizer, 1.0, x, y)
        found.append(model.weight.detach().clone())
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[0], found[2], rtol=1e-4, atol=1e-6)


def test_the_linear_model_starts_and_is_saved_as_one_affine_layer_of_torch():
    torch.manual_seed(3)
    model = build_model("linear", GENES, TYPES)
    torch.manual_seed(3)
    plain = nn.Linear(GENES, TYPES)
    plain_state = plain.state_dict()
    assert list(model.state_dict()) == list(plain_state)
    assert all(torch.equal(value, plain_state[name]) for name, value in model.state_dict().items())
    plain.load_state_dict(model.state_dict())
    model.load_state_dict(plain_state)


def test_weights_of_a_gene_stay_side_by_side_and_so_do_their_gradients():
    model = copy.deepcopy(build_model("linear", GENES, TYPES)).to("cpu").float()
    [(x, _), *_] = batches(sparse=True).in_order()
    for expression in (x, x.to_dense()):
        model.weight.grad = None
        model(expression).sum().backward()
        assert model.weight.stride() == model.weight.grad.stride() == (1, TYPES)


def test_only_models_that_say_so_are_given_sparse_batches():
    assert takes_sparse(build_model("linear", GENES, TYPES))
    assert not takes_sparse(build_model("mlp", GENES, TYPES))
    assert not takes_sparse(nn.Linear(GENES, TYPES))
