"""A fit that is killed at any moment ends in the same result as one that is not."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from faults import many_flips
from hce import checksums
from hce.errors import UserError
from hce.files import read_tsv
from hce.models.trained_model import load_model
from hce.progress import Progress
from hce.store.cell_store import CellStore
from hce.training import loop
from hce.training.checkpoint import Checkpoint
from hce.training.fit import FitSpec, fit_model

REPOSITORY = Path(__file__).resolve().parents[3]
# Runs one fit, slowed down so that a kill falls into the middle, saving after every batch.
SCRIPT = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    import torch
    from hce.training import fit, loop
    from hce.training.device import prepare_device

    folder, pause = Path(sys.argv[1]), float(sys.argv[2])
    fit.CHECKPOINT_MINUTES = 0.0
    step = loop.training_step

    def slow(*arguments):
        time.sleep(pause)
        return step(*arguments)

    loop.training_step = slow
    spec = fit.FitSpec(
        train_store=folder / "train", val_store=folder / "val",
        monitored_stores={"ood": folder / "val"},
        hierarchy_folder=folder, types_table=folder / "types.parquet",
        model={"class": "linear", "arguments": {}, "schedule": {"gamma": 0.9},
                    "optimizer": {"lr": 0.01, "weight_decay": 0.01}},
        loss={"class": "hce", "arguments": {}},
        training={"batch_size": 16, "max_epochs": 3, "patience": 5, "max_gradient_norm": 1.0,
                  "precision": "tf32", "select_by": "credited", "absent_types": "zero"},
        seed=3,
        model_path=folder / sys.argv[3] / "model.pt",
        history_path=folder / sys.argv[3] / "history.tsv",
    )
    fit.fit_model(spec, prepare_device("cpu", 1))
    """
)


def start(folder, pause: float, name: str) -> subprocess.Popen:
    command = [sys.executable, "-c", SCRIPT, str(folder), str(pause), name]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "scripts")}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.fixture(scope="module")
def undisturbed(fit_folder):
    process = start(fit_folder, 0.0, "undisturbed")
    assert process.wait() == 0, process.stderr.read()
    return load_model(fit_folder / "undisturbed/model.pt")


def wait_for(path, timeout=300):
    deadline = time.monotonic() + timeout
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("after", [0.1, 0.7])
def test_a_killed_fit_goes_on_to_the_result_of_an_undisturbed_one(
    fit_folder, undisturbed, kind, after
):
    name = f"{kind.name}-{after}"
    process = start(fit_folder, 0.1, name)
    wait_for(fit_folder / name / "resume.pt")
    time.sleep(after)
    process.send_signal(kind)
    assert process.wait() != 0
    if kind == signal.SIGTERM:
        assert "Stopped by SIGTERM with the state saved" in process.stderr.read()
    assert not (fit_folder / name / "model.pt").exists()
    again = start(fit_folder, 0.0, name)
    assert again.wait() == 0, again.stderr.read()
    resumed = load_model(fit_folder / name / "model.pt")
    assert torch.equal(resumed.model.weight, undisturbed.model.weight)
    history = (fit_folder / name / "history.tsv").read_bytes()
    assert history == (fit_folder / "undisturbed/history.tsv").read_bytes()


def test_a_fit_uses_the_class_weights_of_its_table(fit_folder, undisturbed, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(fit_folder, other)
    types = pd.read_parquet(other / "types.parquet")
    types.assign(class_weight=[1.0, 1.0, 1.0, 50.0]).to_parquet(other / "types.parquet")
    process = start(other, 0.0, "weighted")
    assert process.wait() == 0, process.stderr.read()
    weighted = load_model(other / "weighted/model.pt")
    assert not torch.equal(weighted.model.weight, undisturbed.model.weight)


def test_monitored_sets_are_scored_after_every_epoch(fit_folder, undisturbed):
    history = read_tsv(fit_folder / "undisturbed/history.tsv")
    assert len(history) == 3
    assert (history["ood_credited_macro_f1"] == history["val_credited_macro_f1"]).all()


def test_a_checkpoint_of_another_configuration_or_a_damaged_one_is_not_resumed(tmp_path, caplog):
    Checkpoint(tmp_path / "c.pt", "one", 1.0).save({"x": 1})
    assert Checkpoint(tmp_path / "c.pt", "one", 1.0).load()["x"] == 1
    assert Checkpoint(tmp_path / "c.pt", "other", 1.0).load() is None
    left = tmp_path / ".c.pt.other.1.partial.pt"  # of a job that was killed while it wrote
    left.touch()
    (tmp_path / "c.pt").write_bytes((tmp_path / "c.pt").read_bytes()[:50])
    assert Checkpoint(tmp_path / "c.pt", "one", 1.0).load() is None
    assert not left.exists()
    assert "another configuration" in caplog.text
    assert "cannot be read" in caplog.text


def test_a_checkpoint_with_a_changed_bit_is_not_resumed_or_is_what_was_saved(tmp_path):
    saved = {"x": 1, "weight": torch.arange(2000.0)}
    checkpoint = Checkpoint(tmp_path / "c.pt", "one", 1.0)
    checkpoint.save(saved)
    found = [checkpoint.load() for _ in many_flips(tmp_path / "c.pt", 100)]
    kept = [state for state in found if state is not None]
    assert len(kept) < 30
    assert all(s["x"] == 1 and torch.equal(s["weight"], saved["weight"]) for s in kept)


def test_progress_shows_share_speed_and_time_left():
    progress = Progress("epoch 1", cells=1000, done=500)
    progress.done += 250
    line = progress.line(progress.start + 10)
    assert line == "epoch 1 [###############-----] 75%, 25 cells/s, 0.2 min left"


class TestFitModel:
    """Fits in this process; what is wrong with the cells is said before any training."""

    def fit(self, fit_folder, tmp_path, **changes):
        linear = {"class": "linear", "arguments": {}, "schedule": {"gamma": 0.9}}
        training = {"batch_size": 16, "max_epochs": 1, "patience": 5, "max_gradient_norm": 1.0}
        spec = FitSpec(
            **{
                "train_store": fit_folder / "train",
                "val_store": fit_folder / "val",
                "monitored_stores": {},
                "hierarchy_folder": fit_folder,
                "types_table": fit_folder / "types.parquet",
                "model": linear | {"optimizer": {"lr": 0.01, "weight_decay": 0.01}},
                "loss": {"class": "hce", "arguments": {}},
                "training": training
                | {"precision": "tf32", "select_by": "credited", "absent_types": "zero"},
                "seed": 0,
                "model_path": tmp_path / "model.pt",
                "history_path": tmp_path / "history.tsv",
            }
            | changes
        )
        fit_model(spec, torch.device("cpu"))
        return load_model(tmp_path / "model.pt").model.weight

    def test_a_finished_fit_gives_its_model_and_history_again_without_training(
        self, fit_folder, tmp_path, monkeypatch
    ):
        weight = self.fit(fit_folder, tmp_path)
        history = (tmp_path / "history.tsv").read_bytes()
        for name in ("model.pt", "history.tsv"):  # Snakemake removes what a job is to make
            (tmp_path / name).unlink()
        monkeypatch.setattr(loop, "training_step", None)
        assert torch.equal(self.fit(fit_folder, tmp_path), weight)
        assert (tmp_path / "history.tsv").read_bytes() == history

    def test_cells_of_one_type_are_refused(self, fit_folder, tmp_path):
        cells = pd.read_parquet(fit_folder / "train/cells.parquet")
        shutil.copytree(fit_folder / "train", tmp_path / "train")
        cells.assign(label=np.int16(0)).to_parquet(tmp_path / "train/cells.parquet")
        checksums.record(tmp_path / "train/cells.parquet")
        with pytest.raises(UserError, match="All training cells are of one type, B cell:"):
            self.fit(fit_folder, tmp_path, train_store=tmp_path / "train")

    def test_an_augmentation_without_vectors_trains_without_and_says_so(
        self, fit_folder, tmp_path, caplog
    ):
        n_genes = len(CellStore.open(fit_folder / "train").genes)
        np.save(tmp_path / "none.npy", np.empty((0, n_genes), np.float32))
        np.save(tmp_path / "some.npy", np.ones((3, n_genes), np.float32))
        plain = self.fit(fit_folder, tmp_path / "plain")
        none, some = (
            self.fit(fit_folder, tmp_path / name, augmentation=tmp_path / f"{name}.npy")
            for name in ("none", "some")
        )
        assert torch.equal(none, plain)
        assert "no augmentation was possible on these cells: training without" in caplog.text
        assert not torch.equal(some, plain)
