"""Training learns, is repeatable, follows its spec, and goes on where it was interrupted."""

import numpy as np
import pandas as pd
import pytest
import torch

from hce.batches.densify import Augmentation
from hce.batches.placement import open_batches
from hce.errors import UserError
from hce.losses import HierarchicalLoss, build_loss
from hce.models import build_model
from hce.store.cell_store import write_store
from hce.store.shards import write_shard
from hce.training.checkpoint import Checkpoint
from hce.training.device import BATCH_DTYPES, compute_logits, prepare_device
from hce.training.distributed import OneProcess
from hce.training.loop import TrainingSpec, train, training_step
from hce.training.optimizer import build_optimizer
from separable_cells import N_GENES, N_TYPES, cells

__all__ = ["cells"]

SPEC = TrainingSpec(
    max_epochs=4, patience=10, max_gradient_norm=1.0, lr=0.01, weight_decay=0.01, gamma=0.9
)
R = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).bool()


def run(cells, loss_name="ce", seed=0, spec=SPEC):
    torch.manual_seed(seed)
    model = build_model("linear", N_GENES, N_TYPES)
    loss = build_loss(loss_name, R, torch.ones(N_TYPES))
    return train(model, loss, cells(400, 1), cells(100, 2), spec, seed)


@pytest.mark.parametrize("loss", ["ce", "hce", "hce_log"])
def test_training_learns_types_that_show_in_their_genes(cells, loss):
    fit = run(cells, loss)
    assert fit.history["val_credited_macro_f1"].iloc[-1] > 0.5  # by chance 0.25
    assert fit.history["train_loss"].is_monotonic_decreasing


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(cells):
    a, b, c = run(cells), run(cells), run(cells, seed=1)
    assert torch.equal(a.weights["weight"], b.weights["weight"])
    assert a.history.equals(b.history)
    assert not torch.equal(a.weights["weight"], c.weights["weight"])


def test_the_best_epoch_is_kept_and_training_stops_after_patience(cells, monkeypatch):
    scores = iter([0.1, 0.5, 0.4, 0.5, 0.3, 0.9])
    kept = []

    def fake(model, *_):
        kept.append(model.weight.detach().clone())
        return {"loss": 1.0, "credited_macro_f1": next(scores)}

    monkeypatch.setattr("hce.training.loop.validate", fake)
    spec = TrainingSpec(**(vars(SPEC) | {"max_epochs": 50, "patience": 3}))
    fit = run(cells, spec=spec)
    assert len(fit.history) == 5
    assert fit.best_epoch == 1
    assert torch.equal(fit.weights["weight"], kept[1])


@pytest.mark.parametrize(("by", "best"), [("credited", 1), ("study_aware", 2), ("exact", 0)])
def test_the_score_that_is_asked_for_chooses_the_epoch(cells, monkeypatch, by, best):
    scores = {"credited": [0.6, 0.9, 0.8], "study_aware": [0.4, 0.5, 0.7], "exact": [0.3, 0.2, 0.1]}
    epochs = iter(range(3))

    def fake(*_):
        epoch = next(epochs)
        return {"loss": 1.0, **{f"{kind}_macro_f1": row[epoch] for kind, row in scores.items()}}

    monkeypatch.setattr("hce.training.loop.validate", fake)
    fit = run(cells, spec=TrainingSpec(**(vars(SPEC) | {"max_epochs": 3, "select_by": by})))
    assert fit.best_epoch == best
    assert fit.history["kept"].tolist() == [epoch == best for epoch in range(3)]


@pytest.mark.parametrize(("absent", "best"), [("skip", 1), ("zero", 0)])
def test_types_without_cells_that_are_predicted_can_cost_an_epoch(cells, monkeypatch, absent, best):
    scores = {"credited_macro_f1": [0.8, 0.9], "credited_macro_f1_union": [0.8, 0.7]}
    epochs = iter(range(2))

    def fake(*_):
        epoch = next(epochs)
        return {"loss": 1.0, **{name: row[epoch] for name, row in scores.items()}}

    monkeypatch.setattr("hce.training.loop.validate", fake)
    fit = run(cells, spec=TrainingSpec(**(vars(SPEC) | {"max_epochs": 2, "absent_types": absent})))
    assert fit.best_epoch == best


def test_the_learning_rate_falls_by_gamma_each_epoch(cells):
    assert run(cells).history["lr"].tolist() == pytest.approx([0.01, 0.009, 0.0081, 0.00729])


def test_a_step_clips_the_gradient_and_decays_the_weights_as_adamw_does():
    torch.manual_seed(0)
    model, loss = torch.nn.Linear(3, N_TYPES), build_loss("ce", R, torch.ones(N_TYPES))
    x, y = 100 * torch.randn(8, 3), torch.arange(8) % N_TYPES
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    before = model.weight.detach().clone()
    training_step(model, loss, optimizer, 1.0, x, y)
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()
    assert norm == pytest.approx(1.0, rel=1e-4)
    # Adam's first step is lr in the gradient's direction, whatever its size; decay is lr × wd.
    expected = before * (1 - 0.1 * 0.5) - 0.1 * model.weight.grad.sign()
    torch.testing.assert_close(model.weight.detach(), expected, rtol=1e-3, atol=1e-3)


def test_fewer_cells_than_a_batch_are_refused(cells):
    with pytest.raises(UserError, match=r"20 training cells, fewer than training\.batch_size = 32"):
        list(cells(20, 1).shuffled(np.random.default_rng(0)))


def test_denormal_numbers_are_flushed_to_zero_on_the_cpu():
    prepare_device("cpu", 1)
    tiny = torch.tensor([1e-39]) * torch.tensor([1.0])
    assert tiny.item() == 0.0


class NaNLoss(HierarchicalLoss):
    """Turns bad in its third batch."""

    calls = 0

    def per_cell(self, logits, labels):
        self.calls += 1
        return logits.sum(dim=1) * (float("nan") if self.calls == 3 else 1.0)


def test_a_loss_that_is_not_finite_stops_with_batch_and_seed(cells):
    model, loss = build_model("linear", N_GENES, N_TYPES), NaNLoss(R, torch.ones(N_TYPES))
    with pytest.raises(UserError, match=r"not finite at batch 2 of epoch 0 \(seed 7\)"):
        train(model, loss, cells(400, 1), cells(100, 2), SPEC, 7)


def test_weights_that_are_not_finite_stop_every_model_with_that_message(cells):
    for name in ("linear", "mlp", "tabnet"):
        model, loss = build_model(name, N_GENES, N_TYPES), build_loss("hce", R, torch.ones(4))
        with torch.no_grad():
            for weight in model.parameters():
                weight.fill_(float("nan"))
        with pytest.raises(UserError, match="not finite at batch 0 of epoch 0"):
            train(model, loss, cells(400, 1), cells(100, 2), SPEC, 7)


def test_a_gpu_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match="sees no GPU here"):
        prepare_device("cuda", 1)


def test_bfloat16_batches_give_nearly_the_step_of_float32_and_keep_the_weights_in_float32(cells):
    (x, y) = next(iter(cells(100, 1).in_order()))
    gradients = []
    for expression in (x, x.bfloat16()):
        torch.manual_seed(0)
        model, loss = build_model("mlp", N_GENES, N_TYPES), build_loss("hce", R, torch.ones(4))
        model.eval()  # no dropout
        optimizer = build_optimizer(model, 1e-3, 0.0)
        training_step(model, loss, optimizer, 1.0, expression, y)
        assert all(weight.dtype == torch.float32 for weight in model.parameters())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    similarity = torch.nn.functional.cosine_similarity(*gradients, dim=0)
    assert similarity > 0.99
    assert not torch.equal(*gradients)


@pytest.mark.parametrize("name", ["linear", "mlp", "tabnet"])
def test_every_model_takes_bfloat16_and_gives_logits_in_float32(cells, name):
    (x, y) = next(iter(cells(100, 1).in_order()))
    model, loss = build_model(name, N_GENES, N_TYPES), build_loss("hce", R, torch.ones(4))
    value = training_step(model, loss, build_optimizer(model, 1e-3, 0.0), 1.0, x.bfloat16(), y)
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert compute_logits(model, x.bfloat16()).dtype == torch.float32


class Interruption(Exception):
    pass


@pytest.mark.parametrize("residency", ["gpu", "host", "disk"])
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_fit_goes_on_in_the_middle_of_an_epoch_wherever_its_cells_are(
    cells, residency, precision, tmp_path, monkeypatch
):
    monkeypatch.setattr("hce.store.shards.BATCH_CELLS", 32)
    whole = cells(200, 1)
    ids = np.arange(200, dtype=np.int64)
    write_shard(tmp_path / "0.arrow", [(ids, whole.counts)])
    table = pd.DataFrame({"soma_joinid": ids, "label": whole.labels.numpy()})
    genes = pd.DataFrame({"feature_id": [f"E{i}" for i in range(N_GENES)], "feature_name": "g"})
    store = write_store(tmp_path / "s", [tmp_path / "0.arrow"], table, genes, {})
    dtype, cpu = BATCH_DTYPES[precision], torch.device("cpu")
    vectors = np.random.default_rng(0).normal(0, 0.1, (5, N_GENES)).astype(np.float32)
    spec = TrainingSpec(**(vars(SPEC) | {"max_epochs": 2}))

    def attempt(checkpoint=None):
        torch.manual_seed(0)
        model, loss = build_model("mlp", N_GENES, N_TYPES), build_loss("hce", R, torch.ones(4))
        batches = open_batches(store, residency, 32, cpu, dtype, Augmentation(vectors, dtype))
        val = open_batches(store, residency, 32, cpu, dtype)
        return train(model, loss, batches, val, spec, 3, checkpoint=checkpoint)

    undisturbed = attempt()
    steps = iter(range(9))

    def failing(*arguments):
        if next(steps) == 8:  # the third batch of the second epoch
            raise Interruption
        return training_step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("hce.training.loop.training_step", failing)
        with pytest.raises(Interruption):
            attempt(Checkpoint(tmp_path / "resume.pt", "x", minutes=0.0))
    resumed = attempt(Checkpoint(tmp_path / "resume.pt", "x", minutes=0.0))
    assert resumed.history.equals(undisturbed.history)
    for name, weight in undisturbed.weights.items():
        assert torch.equal(resumed.weights[name], weight)


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(cells, tmp_path):
    model, loss = build_model("linear", N_GENES, N_TYPES), NaNLoss(R, torch.ones(N_TYPES))
    checkpoint = Checkpoint(tmp_path / "resume.pt", "x", minutes=0.0)
    with pytest.raises(UserError, match="not finite at batch 2"):
        train(model, loss, cells(400, 1), cells(100, 2), SPEC, 7, checkpoint=checkpoint)
    state = checkpoint.load()
    assert len(state["losses"]) == 2
    assert all(torch.isfinite(weight).all() for weight in state["model"].values())


def test_processes_that_would_go_on_at_different_places_stop_before_they_train(cells, tmp_path):
    class Processes(OneProcess):
        def gather(self, value):
            return torch.stack([value, torch.zeros_like(value)])  # the other one starts anew

    checkpoint = Checkpoint(tmp_path / "resume.pt", "x", minutes=60.0)

    def attempt(processes):
        model, loss = build_model("linear", N_GENES, N_TYPES), build_loss("ce", R, torch.ones(4))
        batches = cells(400, 1), cells(100, 2)
        train(model, loss, *batches, SPEC, 7, checkpoint=checkpoint, processes=processes)

    attempt(OneProcess())
    with pytest.raises(UserError, match=r"batch 0 of epoch 4, batch 0 of epoch 0\).*resume\.pt"):
        attempt(Processes())


def test_a_fit_that_began_on_a_gpu_goes_on_without_one(cells, tmp_path):
    checkpoint = Checkpoint(tmp_path / "resume.pt", "x", minutes=60.0)
    short = TrainingSpec(**(vars(SPEC) | {"max_epochs": 1}))

    def attempt(spec):
        model, loss = build_model("linear", N_GENES, N_TYPES), build_loss("ce", R, torch.ones(4))
        batches = cells(400, 1), cells(100, 2)
        return train(model, loss, *batches, spec, 7, checkpoint=checkpoint)

    attempt(short)
    state = checkpoint.load()
    state["random"]["cuda"] = torch.zeros(1, 16, dtype=torch.uint8)
    checkpoint.save(state)
    assert len(attempt(SPEC).history) == SPEC.max_epochs
