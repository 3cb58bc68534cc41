"""Faults of a cluster, each made on a real SLURM: nothing is lost, wrong or stuck.

One Snakemake trains the same model under several names, each meeting another fault, beside one
that meets none; since the seed is the same, all have to end in the same result.
"""

import re
import signal
import time

import pytest
import torch
from on_slurm import wait_for

from hce.model_file import load_model

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1500)]


def entry(pause: float = 0.3, fails: str = "never") -> dict:
    """A model of the config's catalogue."""
    return {
        "class": "faulty_models:Faulty",
        "arguments": {"pause": pause, "fails": fails},
        "optimizer": {"lr": 0.002, "weight_decay": 0.01},
        "schedule": {"gamma": 0.9},
    }


MODELS = {
    "undisturbed": entry(),
    "cancelled": entry(),
    "requeued": entry(),
    "overtime": entry(pause=0.8),
    "failing_once": entry(fails="once"),
    "failing": entry(fails="always"),
}
# The retry has to end in the time that is left to it.
ONE_RETRY = ("--retries", "1")


def config_of(models: dict) -> dict:
    return {
        "models": models,
        "fits": {"models": list(models), "losses": ["ce"], "seeds": [0]},
        "figures": {"model": next(iter(models))},
    }


def scores_of(models: dict) -> list[str]:
    return [f"results/demo/scores/{model}/ce/0/overall.tsv" for model in models]


def folder_of(run, model: str):
    return run.place.folder / f"results/demo/fits/{model}/ce/0"


def training_job(run, model: str) -> str:
    """The SLURM job of a fit, once its first epoch is done."""
    wait_for(f"{model}'s first epoch", (folder_of(run, model) / "history.tsv").exists)
    job = run.cluster.job_of(run.place, f"fit:model={model},loss=ce,seed=0")
    assert job
    return job


@pytest.fixture(scope="module")
def place(finished, tmp_path_factory):
    """A workplace with the demo's data, and no fits of its own."""
    return finished.copy(tmp_path_factory.mktemp("faults") / "place")


@pytest.fixture(scope="module")
def faults(place, submit):
    """The run in which everything happens."""
    run = submit(place, *scores_of(MODELS), *ONE_RETRY, config=config_of(MODELS))
    cluster = run.cluster
    cluster.run("scancel", training_job(run, "cancelled"))
    cancelled = time.monotonic()
    job = training_job(run, "requeued")
    cluster.run("scontrol", "requeue", job)
    # SLURM lets a requeued job wait for two minutes.
    wait_for(
        "the requeue", lambda: "JobState=PENDING" in cluster.run("scontrol", "show", "job", job)
    )
    cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    cluster.run("scontrol", "update", f"JobId={training_job(run, 'overtime')}", "TimeLimit=1")
    cluster.control("halt")
    time.sleep(12)
    cluster.control("resume")
    wait_for("the retry", lambda: "Trying to restart job" in run.output())
    print(f"first retry {time.monotonic() - cancelled:.0f} s after scancel")
    run.wait()
    print(run.output())
    return run


@pytest.mark.parametrize("model", ["cancelled", "overtime", "requeued", "failing_once"])
def test_a_fit_that_meets_a_fault_ends_in_the_same_result(faults, model):
    expected, found = folder_of(faults, "undisturbed"), folder_of(faults, model)
    weights = [load_model(folder / "model.pt").model.state_dict() for folder in (expected, found)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert (found / "history.tsv").read_bytes() == (expected / "history.tsv").read_bytes()


@pytest.mark.parametrize("model", ["cancelled", "overtime", "requeued"])
def test_training_that_was_interrupted_goes_on_from_its_checkpoint(faults, model):
    log = faults.place.folder / f"results/demo/logs/fit/{model}_ce_0.log"
    assert re.search(r"going on at batch \d+ of epoch \d", log.read_text())


def test_the_end_names_the_fit_that_failed_for_good_and_its_log(faults):
    assert faults.process.returncode == 1
    end = faults.output().rpartition("These jobs failed for good:")[2]
    assert "fit (model failing, loss ce, seed 0): RuntimeError: this model fails on purpose" in end
    assert "results/demo/logs/fit/failing_ce_0.log" in end
    assert len(re.findall(r"^  \w+ \(model", end, re.M)) == 1


def test_the_rest_of_the_matrix_is_finished(faults):
    for path in scores_of(MODELS):
        assert (faults.place.folder / path).is_file() == ("/failing/" not in path)


def test_each_fault_cost_one_more_job_and_a_requeue_none(faults):
    again = {"cancelled", "overtime", "failing_once", "failing"}
    # A job whose next rule begins while the controller is halted is tried again, too.
    halted = set(re.findall(r"Unable to confirm allocation for job (\d+)", faults.output()))
    assert faults.submitted() == len(MODELS) + len(again) + len(halted)


TWO = {"first": entry(pause=0.0), "second": entry(pause=0.8)}


@pytest.fixture(scope="module")
def killed(finished, submit, tmp_path_factory):
    """A Snakemake that is killed when the first of two fits is done."""
    place = finished.copy(tmp_path_factory.mktemp("killed") / "place")
    run = submit(place, *scores_of(TWO), config=config_of(TWO))
    wait_for(
        "the first fit's end", lambda: "Finished jobid" in run.output() or run.process.poll(), 600
    )
    run.second = submit(place, *scores_of(TWO), config=config_of(TWO))
    run.second.wait()
    run.left_job = training_job(run, "second")
    run.process.send_signal(signal.SIGKILL)
    run.process.wait()
    return run


def test_a_second_snakemake_in_the_same_folder_refuses(killed):
    assert killed.second.process.returncode != 0
    assert "Directory cannot be locked" in killed.second.output()
    assert killed.second.submitted() == 0


def test_after_a_kill_the_same_command_cancels_what_is_left_and_goes_on(killed, submit):
    place = killed.place
    first = folder_of(killed, "first") / "model.pt"
    before = first.stat().st_mtime_ns
    unlocked = place.snakemake("--unlock", config=config_of(TWO))
    assert unlocked.returncode == 0
    again = submit(place, *scores_of(TWO), config=config_of(TWO))
    output = again.wait()
    assert again.process.returncode == 0, output[-5000:]
    assert f"Cancelled what an earlier run left in the queue: {killed.left_job}." in output
    assert again.submitted() == 1  # what was finished is not made again
    assert first.stat().st_mtime_ns == before
    log = (place.folder / "results/demo/logs/fit/second_ce_0.log").read_text()
    assert "going on at batch" in log
    fits = [load_model(folder_of(killed, name) / "model.pt").model for name in TWO]
    assert torch.equal(fits[0].weight, fits[1].weight)
