"""A step that is replayed gives what the step itself gives, or is not replayed.

A made-up recorder stands for the GPU: like a CUDA graph, it keeps the learning rate that it saw.
"""

import random
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from hce.batches.densify import Augmentation
from hce.batches.placement import open_batches
from hce.errors import UserError
from hce.losses import build_loss
from hce.models import build_model
from hce.store.cell_store import write_store
from hce.store.shards import write_shard
from hce.training import loop
from hce.training.captured import REHEARSALS, CapturedStep, recorded_where_possible
from hce.training.checkpoint import Checkpoint
from hce.training.distributed import OneProcess
from hce.training.loop import TrainingSpec, train, training_step
from hce.training.optimizer import build_optimizer
from separable_cells import N_GENES, N_TYPES, cells

__all__ = ["cells"]

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
RATE = 2.0**-7  # the same in float32, which a recorded step reads, and in float64
SPEC = TrainingSpec(
    max_epochs=3, patience=10, max_gradient_norm=1.0, lr=RATE, weight_decay=0.01, gamma=0.5
)
CELLS, BATCH = 200, 32
STEPS = CELLS // BATCH * SPEC.max_epochs
R = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).bool()
SHAPES = {
    "mlp": {"hidden_size": 8, "n_hidden": 2},
    "tabnet": {"n_d": 6, "n_a": 5, "n_independent": 1, "n_shared": 1, "virtual_batch_size": 16},
}


class Tape:
    """Replays by doing the work again, with the learning rate of its recording."""

    def __init__(self):
        self.optimizer = None
        self.rehearsed = self.replayed = 0

    def rehearse(self, work):
        self.rehearsed += 1
        work()

    def record(self, work):
        [group] = self.optimizer.param_groups
        rate = group["lr"]
        assert isinstance(rate, torch.Tensor)
        assert group["capturable"]

        def replay():
            self.replayed += 1
            now, group["lr"] = group["lr"], rate
            self.work(work)
            group["lr"] = now

        return replay

    def work(self, work):
        work()


class Waits(Tape):
    def rehearse(self, work):
        work()
        raise RuntimeError("called a synchronizing CUDA operation")


class Fails(Tape):
    def record(self, work):
        work()
        raise RuntimeError("operation not permitted when stream is capturing")


class DoesNothing(Tape):
    def work(self, work):
        pass


class DrawsNothing(Tape):
    def work(self, work):
        state = torch.get_rng_state()
        work()
        torch.set_rng_state(state)


class KeepsTheRate(Tape):
    """Its rate is not the one that the optimiser has now."""

    def record(self, work):
        replay = super().record(work)
        self.optimizer.param_groups[0]["lr"].mul_(1.1)
        return replay


@pytest.fixture(autouse=True)
def one_thread():
    """Several would wait for each other, and the work of these models is small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def store(cells, tmp_path, monkeypatch):
    monkeypatch.setattr("hce.store.shards.BATCH_CELLS", 32)
    whole, ids = cells(CELLS, 1), np.arange(CELLS, dtype=np.int64)
    write_shard(tmp_path / "0.arrow", [(ids, whole.counts)])
    table = pd.DataFrame({"soma_joinid": ids, "label": whole.labels.numpy()})
    genes = pd.DataFrame({"feature_id": [f"E{i}" for i in range(N_GENES)], "feature_name": "g"})
    return write_store(tmp_path / "s", [tmp_path / "0.arrow"], table, genes, {})


@pytest.fixture
def fit(store, monkeypatch):
    """Trains a model, with a recorder or without; on a GPU the recorder is that of the library."""

    def made(model, recorder=None, device=CPU, checkpoint=None, spec=SPEC):
        def choose(step, device, processes):
            if recorder is None:
                return step
            taken = CapturedStep(step, recorder)

            def noting(model, loss, optimizer, *others):
                recorder.optimizer = optimizer
                return taken(model, loss, optimizer, *others)

            return noting

        torch.manual_seed(0)
        if isinstance(model, str):
            model = build_model(model, N_GENES, N_TYPES, **SHAPES.get(model, {}))
        loss = build_loss("hce", R, torch.ones(N_TYPES)).to(device)
        vectors = np.random.default_rng(0).normal(0, 0.1, (5, N_GENES)).astype(np.float32)
        shifts = Augmentation(vectors, torch.float32, device)
        batches = open_batches(store, "gpu", BATCH, device, torch.float32, shifts)
        val = open_batches(store, "gpu", BATCH, device, torch.float32)
        with monkeypatch.context() as patch:
            if recorder != "the card's":
                patch.setattr(loop, "recorded_where_possible", choose)
            return train(model.to(device), loss, batches, val, spec, 3, checkpoint=checkpoint)

    return made


def warnings_in(caplog):
    """Warnings alone: other tests of the process may have asked for more to be logged."""
    return [record for record in caplog.records if record.levelname == "WARNING"]


def assert_same(found, expected):
    assert found.history.equals(expected.history)
    for name, weight in expected.weights.items():
        assert torch.equal(found.weights[name], weight), name


@pytest.mark.parametrize("name", ["linear", "mlp", "tabnet"])
def test_a_fit_of_replayed_steps_is_the_fit_of_ordinary_ones(fit, name, caplog):
    """Dropout, running statistics, the falling learning rate and the log's losses included."""
    tape = Tape()
    with caplog.at_level("INFO"):
        replayed = fit(name, tape)
    assert_same(replayed, fit(name))
    assert (tape.rehearsed, tape.replayed) == (REHEARSALS, STEPS - 1)
    assert caplog.text.count("replayed as one CUDA graph") == 1


def test_a_batch_of_another_size_or_place_is_taken_as_it_is(monkeypatch):
    torch.manual_seed(0)
    models = [build_model("mlp", N_GENES, N_TYPES) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    loss, made = build_loss("ce", R, torch.ones(N_TYPES)), []
    place = torch.rand(BATCH, N_GENES)
    for model, tape in zip(models, (None, Tape()), strict=True):
        optimizer = build_optimizer(model, RATE, 0.0)
        step = training_step
        if tape is not None:
            tape.optimizer, step = optimizer, CapturedStep(training_step, tape)
        torch.manual_seed(1)
        for number in range(12):
            x = [place, place[:20], place.clone()][number % 3 if number > 5 else 0]
            y = torch.randint(0, N_TYPES, (len(x),))
            made.append(step(model, loss, optimizer, 1.0, x, y))
    assert made[:12] == made[12:]
    assert tape.replayed == 5 + 2


@pytest.mark.parametrize(
    ("recorder", "reason"),
    [
        (Waits, "called a synchronizing CUDA operation"),
        (Fails, "operation not permitted when stream is capturing"),
        (DoesNothing, "gives another loss"),
        (DrawsNothing, "draws other random numbers"),
        (KeepsTheRate, "gives another encoder.0.weight of the model"),
    ],
)
def test_a_recording_that_fails_or_differs_is_one_warning_and_leaves_no_trace(
    fit, caplog, recorder, reason
):
    found = fit("mlp", recorder())
    [record] = warnings_in(caplog)
    assert record.levelname == "WARNING"
    assert "cannot be replayed as one CUDA graph" in record.message
    assert reason in record.message
    assert_same(found, fit("mlp"))


class Restless(nn.Module):
    """Does something else in each step, in one of several ways."""

    def __init__(self, way):
        super().__init__()
        self.way, self.calls, self.kept = way, 0, {"mean": None}
        self.numbers, self.level = np.zeros(3, np.float32), torch.zeros(())
        self.layer = nn.Linear(N_GENES, N_TYPES)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, expression):
        logits = self.layer(expression)
        if not self.training:
            return logits
        if self.way == "counts":
            self.calls += 1
            return logits * (1 + self.calls)
        if self.way == "draws":
            return logits * random.random()
        if self.way == "draws numpy":
            return logits * np.random.random()
        if self.way == "keeps":
            self.kept["mean"] = logits.detach().mean()
        if self.way == "counts in numpy":
            self.numbers[0] += 1
            return logits * self.numbers[0]
        if self.way == "updates":
            self.level.mul_(0.9).add_(logits.detach().mean())
            return logits * (1 + self.level)
        if self.way == "replaces":
            self.mean = 0.9 * self.mean + logits.detach().mean()
        return logits


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("counts", "a step changes model.calls"),
        ("counts in numpy", "a step changes model.numbers"),
        ("draws", "a step changes Python's random numbers"),
        ("draws numpy", "a step changes numpy's random numbers"),
        ("keeps", "a step changes model.kept"),
        ("replaces", "a step changes model._buffers"),
    ],
)
def test_a_model_that_changes_on_the_host_is_trained_as_before(fit, caplog, way, reason):
    made = []
    for recorder in (Tape(), None):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        made.append(fit(Restless(way), recorder))
    assert reason in caplog.text
    assert_same(*made)
    assert way != "counts" or len(warnings_in(caplog)) == 1


def test_a_tensor_that_a_model_keeps_and_updates_is_put_back_after_a_trial(fit, caplog):
    made = []
    for recorder in (Tape(), None):
        torch.manual_seed(0)
        made.append(fit(Restless("updates"), recorder))
    assert warnings_in(caplog) == []
    assert_same(*made)


def test_a_fit_of_replayed_steps_goes_on_in_the_middle_of_an_epoch(fit, tmp_path, monkeypatch):
    undisturbed, path = fit("mlp"), tmp_path / "resume.pt"
    with monkeypatch.context() as patch:
        left = iter(range(14))

        def stop(checkpoint):
            return True if next(left) is not None else None

        patch.setattr(Checkpoint, "due", stop)
        with pytest.raises(StopIteration):
            fit("mlp", Tape(), checkpoint=Checkpoint(path, "x", 0.0))
    tape = Tape()
    resumed = fit("mlp", tape, checkpoint=Checkpoint(path, "x", 60.0))
    assert 0 < tape.replayed < STEPS - 10
    assert_same(resumed, undisturbed)


def test_a_replayed_loss_that_is_not_finite_stops_the_fit(fit):
    steep = TrainingSpec(**(vars(SPEC) | {"lr": 1e30}))
    model = nn.Sequential(nn.Linear(N_GENES, 8), nn.Linear(8, N_TYPES))
    with pytest.raises(UserError, match=r"not finite at batch \d of epoch 0 \(seed 3\)"):
        fit(model, Tape(), spec=steep)


def test_steps_are_not_recorded_on_the_cpu_or_with_several_processes():
    several = SimpleNamespace(world_size=2)
    assert recorded_where_possible(training_step, CPU, OneProcess()) is training_step
    assert recorded_where_possible(training_step, CUDA, several) is training_step


needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


@needs_card
@pytest.mark.gpu
@pytest.mark.parametrize("name", ["linear", "mlp", "tabnet"])
def test_a_card_replays_what_it_does_step_by_step(fit, name, caplog):
    with caplog.at_level("INFO"):
        replayed = fit(name, "the card's", CUDA)
    assert "training steps are replayed as one CUDA graph" in caplog.text
    assert_close(replayed, fit(name, None, CUDA))


def assert_close(found, expected):
    """But for the last bits, since the card may divide a sum in another way."""
    for column in ("train_loss", "val_loss"):
        assert found.history[column].tolist() == pytest.approx(expected.history[column], rel=1e-5)
    for name, weight in expected.weights.items():
        torch.testing.assert_close(found.weights[name], weight, rtol=1e-4, atol=1e-5)


@needs_card
@pytest.mark.gpu
def test_a_fit_on_a_card_goes_on_with_replayed_steps(fit, tmp_path):
    path, short = tmp_path / "resume.pt", TrainingSpec(**(vars(SPEC) | {"max_epochs": 1}))
    fit("mlp", "the card's", CUDA, Checkpoint(path, "x", 60.0), short)
    resumed = fit("mlp", "the card's", CUDA, Checkpoint(path, "x", 60.0))
    assert_close(resumed, fit("mlp", "the card's", CUDA))


class Waiting(nn.Module):
    """Looks at a number that the GPU has computed, and drops units."""

    def __init__(self):
        super().__init__()
        self.layer, self.dropout = nn.Linear(N_GENES, N_TYPES), nn.Dropout(0.1)

    def forward(self, expression):
        return self.dropout(self.layer(expression)) * (1 if expression.sum().item() > 0 else 2)


@needs_card
@pytest.mark.gpu
def test_a_model_that_waits_for_the_card_is_trained_as_before(fit, caplog):
    torch.manual_seed(0)
    models = [Waiting(), Waiting()]
    models[1].load_state_dict(models[0].state_dict())
    found = fit(models[0], "the card's", CUDA)
    assert "cannot be replayed as one CUDA graph (called a synchronizing" in caplog.text
    assert_same(found, fit(models[1], None, CUDA))


@needs_card
@pytest.mark.gpu
def test_a_recording_that_fails_midway_leaves_the_card_as_it_was():
    """A fit goes on after it: the stream, the random numbers and the memory are usable."""
    from hce.training.cuda_graph import GraphRecorder, generator_of

    device = torch.device("cuda", torch.cuda.current_device())
    stream, state = torch.cuda.current_stream(), generator_of(device).get_state()

    def work():
        nn.functional.dropout(torch.ones(100, device=device))
        torch.cuda.synchronize()

    with pytest.raises(RuntimeError):
        GraphRecorder(device).record(work)
    assert torch.cuda.current_stream() == stream
    generator_of(device).set_state(state)
    dropped = nn.functional.dropout(torch.ones(1000, device=device))
    assert 300 < (dropped == 0).sum().item() < 700
    torch.cuda.empty_cache()  # refused while torch takes something to be recorded
    numbers, recorder = torch.zeros(100, device=device), GraphRecorder(device)
    recorder.rehearse(lambda: numbers.add_(1))
    recorder.record(lambda: numbers.add_(1))()
    assert numbers.sum().item() == 200
