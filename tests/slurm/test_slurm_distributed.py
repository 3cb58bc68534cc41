"""A fit whose processes are tasks of one SLURM job."""

import pytest
import torch

from hce.model_file import load_model

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

MODEL = "results/demo/fits/linear/hce/0/model.pt"


def test_two_tasks_of_one_job_train_the_model_of_one_process(finished, submit, tmp_path):
    place = finished.copy(tmp_path / "place")
    config = {"training": {"devices": 2}}
    gpus = ("--set-resources", "fit:gpu=2", "--resources", "gpu=2", "census_connections=8")
    run = submit(place, MODEL, *gpus, config=config)
    output = run.wait()
    assert run.process.returncode == 0, output[-5000:]
    assert run.submitted() == 1
    log = (place.folder / "results/demo/logs/fit/linear_hce_0.log").read_text()
    assert "training with 2 processes" in log
    assert "Starting with 2 processes" in log  # of Fabric, which found SLURM's tasks
    alone, together = (
        load_model(folder / MODEL).model for folder in (finished.folder, place.folder)
    )
    torch.testing.assert_close(together.weight, alone.weight, rtol=1e-3, atol=1e-4)
