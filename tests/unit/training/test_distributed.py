"""Several processes train together as one would on the same batches."""

import copy
import os
import signal
import threading
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch

from hce.batches.in_memory import BatchSource
from hce.batches.memory import RESIDENCIES
from hce.batches.part import Part
from hce.batches.placement import open_batches
from hce.errors import UserError
from hce.files import read_tsv
from hce.models.trained_model import load_model
from hce.store.cell_store import CellStore
from hce.training.distributed import (
    OneProcess,
    check_processes,
    common_residency,
)
from hce.training.fit import FitSpec, fit_model
from hce.training.launch import run_processes
from hce.training.loop import ALONE
from hce.training.validation import Judge, validate

CLASS_WEIGHTS = [1.0, 5.0, 0.5, 2.0]
BATCH = 16


@pytest.fixture
def spec(fit_folder, tmp_path):
    """Spec of a fit whose cells weigh differently, by model and name."""
    types = tmp_path / "types.parquet"
    pd.read_parquet(fit_folder / "types.parquet").assign(class_weight=CLASS_WEIGHTS).to_parquet(
        types
    )

    def make(name, model="linear", **training):
        mine = {
            "class": model,
            "arguments": {"hidden_size": 16, "n_hidden": 2} if model == "mlp" else {},
            "optimizer": {"lr": 0.01, "weight_decay": 0.01},
            "schedule": {"gamma": 0.9},
        }
        chosen = {"batch_size": BATCH, "max_epochs": 2, "patience": 5, "max_gradient_norm": 1.0}
        chosen |= {
            "precision": "fp32",
            "deterministic": False,
            "select_by": "credited",
            "absent_types": "zero",
        }
        return FitSpec(
            **{
                "train_store": str(fit_folder / "train"),
                "val_store": str(fit_folder / "val"),
                "monitored_stores": {},
                "hierarchy_folder": str(fit_folder),
                "types_table": str(types),
                "model": mine,
                "loss": {"class": "hce", "arguments": {}},
                "training": chosen | training,
                "seed": 3,
                "model_path": str(tmp_path / name / "model.pt"),
                "history_path": str(tmp_path / name / "history.tsv"),
            }
        )

    return make


def train_together(spec, tmp_path):
    run_processes(spec, "cpu", devices=2, nodes=1, threads=2, log=tmp_path / "log.txt")


def result(spec):
    return load_model(spec.model_path).model, read_tsv(spec.history_path)


class Joined(BatchSource):
    """What two processes take of each batch, as batches of one process."""

    def __init__(self, store, *options):
        *options, labels, part = options
        super().__init__(labels, BATCH, part)
        self.parts = [
            open_batches(store, *options, labels, Part(rank, 2, part.seed)) for rank in range(2)
        ]

    def shuffled(self, rng, skip=0):
        epochs = (part.shuffled(copy.deepcopy(rng), skip) for part in self.parts)
        for pair in zip(*epochs, strict=True):
            expression, labels = zip(*pair, strict=True)
            yield torch.cat([x.to_dense() for x in expression]), torch.cat(labels)

    def in_order(self):
        for part in self.parts:
            yield from part.in_order()


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_on_the_same_batches(spec, tmp_path, monkeypatch):
    alone, together = spec("alone"), spec("together")
    with monkeypatch.context() as patch:
        patch.setattr("hce.training.fit.open_batches", Joined)
        fit_model(alone, torch.device("cpu"))
    train_together(together, tmp_path)
    (model, history), (other, other_history) = result(alone), result(together)
    # Ten batches of two epochs: sums in another order differ in the last digits only.
    torch.testing.assert_close(other.weight, model.weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other.bias, model.bias, rtol=1e-4, atol=1e-5)
    columns = ["train_loss", "val_loss", "val_credited_macro_f1", "val_exact_macro_f1"]
    assert other_history[columns].to_numpy() == pytest.approx(history[columns].to_numpy(), rel=1e-4)
    assert "training with 2 processes" in (tmp_path / "log.txt").read_text()


@pytest.mark.slow
def test_processes_that_read_from_disk_validate_the_model_that_is_written(spec, tmp_path):
    together = replace(spec("together", "mlp", max_epochs=1), residency="disk")
    train_together(together, tmp_path)
    model, history = result(together)
    store = CellStore.open(together.val_store)
    batches = open_batches(store, "host", BATCH, torch.device("cpu"), torch.float32)
    trained = load_model(together.model_path)
    scores = validate(model, trained.loss, batches, Judge.of(None, trained.loss), ALONE)
    assert history["val_loss"][0] == pytest.approx(scores["loss"], rel=1e-5)


@pytest.mark.slow
def test_processes_that_are_told_to_stop_go_on_to_the_result_of_undisturbed_ones(spec, tmp_path):
    undisturbed, stopped = (
        spec(name, "mlp", max_epochs=40, patience=40) for name in ("undisturbed", "stopped")
    )
    train_together(undisturbed, tmp_path)

    def stop_when_saved():
        saved = os.path.join(os.path.dirname(stopped.model_path), "resume.pt")
        while not os.path.exists(saved):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_when_saved, daemon=True).start()
    with pytest.raises(UserError, match="Stopped by SIGTERM"):
        train_together(stopped, tmp_path)
    train_together(stopped, tmp_path)
    (model, history), (other, other_history) = result(undisturbed), result(stopped)
    assert other_history.equals(history)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


class OneOfTwo(OneProcess):
    """The first of two processes of which the other does the same; on machines of their own."""

    world_size = 2

    def gather(self, value):
        return torch.stack([value, value])


def test_a_fit_that_is_resumed_with_another_number_of_processes_starts_anew_and_says_so(
    spec, caplog
):
    said = "resume.pt belongs to another configuration, version or number of processes"
    fit_model(spec("x"), torch.device("cpu"))
    assert said not in caplog.text
    fit_model(spec("x"), torch.device("cpu"), OneOfTwo())
    assert said in caplog.text
    caplog.clear()
    fit_model(spec("x"), torch.device("cpu"), OneOfTwo())
    assert said not in caplog.text


def test_a_fit_of_several_processes_looks_for_room_for_the_part_of_each(spec, monkeypatch):
    given = []
    monkeypatch.setattr(
        "hce.training.fit.choose_residency", lambda *options: given.append(options[-2:]) or "host"
    )
    fit_model(spec("x"), torch.device("cpu"), OneOfTwo())
    assert given == [(1, 2)]  # processes of a machine, machines


def test_processes_that_are_told_to_stop_before_they_listen_say_so(spec, tmp_path):
    def stop_when_started():
        while not (tmp_path / "early" / "processes.json").exists():
            time.sleep(0.005)
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_when_started, daemon=True).start()
    with pytest.raises(UserError, match="Stopped by SIGTERM: run the same again"):
        train_together(spec("early"), tmp_path)


def test_an_error_of_a_process_is_told_in_its_own_words(spec, tmp_path):
    with pytest.raises(UserError, match=r"fewer than training\.batch_size = 1,024"):
        train_together(spec("large", batch_size=1024), tmp_path)
    assert not (tmp_path / "large" / "processes.json").exists()


def test_a_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(UserError, match=r"batch_size = 256 cannot be divided .* 3 processes"):
        check_processes(256, 3)


def test_several_machines_need_slurm(spec, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(UserError, match=r"training\.nodes is 2, but this is no SLURM job"):
        run_processes(spec("x"), "cpu", devices=1, nodes=2, threads=1, log=tmp_path / "log")


def test_processes_agree_on_the_place_that_is_large_enough_for_all():
    class Processes(OneProcess):
        def gather(self, value):
            return torch.stack([value, torch.tensor(RESIDENCIES.index("disk"))])

    assert common_residency("host", Processes()) == "disk"
    assert common_residency("host", OneProcess()) == "host"
