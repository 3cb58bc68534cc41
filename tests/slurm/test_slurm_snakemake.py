"""Snakemake itself interrupted, killed and started twice while its jobs run on a real SLURM."""

import signal

import pytest
import torch
from on_slurm import fits_of, scores_of, slow_model, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(2400)]

MODELS = {"first": slow_model(pause=0.0), "second": slow_model(pause=2.0)}


@pytest.fixture(scope="module")
def start(finished, submit, tmp_path_factory):
    """Starts a Snakemake for two fits; all in the same folder, the same command."""
    place = finished.copy(tmp_path_factory.mktemp("killed") / "place")
    return lambda: submit(place, *scores_of(MODELS), config=fits_of(MODELS))


@pytest.fixture(scope="module")
def interrupted(start, submit):
    """One that is interrupted, as by Ctrl-C, when the first of the fits is done.

    Beside it, another one of the same folder makes other results to their end.
    """
    run = start()
    wait_for("its jobs", lambda: run.submitted() == 2)
    other = fits_of({"quick": slow_model(pause=0.0)}) | {"run": "other"}
    run.other = submit(run.place, "results/other/scores/quick/ce/0/overall.tsv", config=other)
    wait_for("the first fit", lambda: "Finished jobid" in run.output() or run.process.poll(), 600)
    run.made = (run.fit_folder("first") / "model.pt").stat().st_mtime_ns
    run.second = start()
    run.second.wait()
    run.left_job = run.training_job("second")
    wait_for("the other's job", lambda: run.other.submitted() == 1)
    run.comment = run.cluster.run(
        "squeue", "--noheader", "--format=%k", f"--jobs={run.left_job}"
    ).strip()
    run.second_state = run.cluster.state_of(run.left_job)
    run.process.send_signal(signal.SIGINT)
    run.wait(120)
    run.other.wait()
    return run


@pytest.fixture(scope="module")
def between(interrupted):
    """States of fits after a run in between that asked for something else and ended well."""
    other = interrupted.place.snakemake("results/demo/config.yaml", config=fits_of(MODELS))
    assert other.returncode == 0, other.stderr
    return list(interrupted.fit_folder("second").glob("resume.pt"))


@pytest.fixture(scope="module")
def killed(interrupted, between, start):
    """The next one, killed when the second fit trains again."""
    run = start()
    run.left_job = wait_for(
        "the second fit", lambda: run.cluster.job_of(run.place, "fit:model=second"), 600
    )
    wait_for("its training", lambda: "going on at batch" in run.fit_log("second"), 600)
    run.process.kill()
    run.process.wait()
    return run


@pytest.fixture(scope="module")
def resumed(killed, start):
    """The one after that, which comes to the end."""
    assert killed.place.snakemake("--unlock", config=fits_of(MODELS)).returncode == 0
    run = start()
    output = run.wait()
    assert run.process.returncode == 0, output[-5000:]
    return run


def test_a_second_snakemake_in_the_same_folder_refuses(interrupted):
    assert interrupted.second.process.returncode != 0
    assert "Directory cannot be locked" in interrupted.second.output()
    assert interrupted.second.submitted() == 0


def test_two_runs_of_one_folder_leave_each_others_jobs_alone(interrupted):
    assert interrupted.other.process.returncode == 0, interrupted.other.output()[-5000:]
    assert "Cancelled what an earlier run left" not in interrupted.other.output()
    assert interrupted.other.submitted() == 1
    assert interrupted.second_state == "RUNNING"


def test_slurm_says_which_fit_a_job_is(interrupted):
    assert interrupted.comment == "fit second ce 0"


def test_an_interrupted_snakemake_cancels_its_jobs_and_frees_the_folder(interrupted, killed):
    assert interrupted.process.returncode != 0
    assert interrupted.cluster.state_of(interrupted.left_job) == "CANCELLED"
    assert "Directory cannot be locked" not in killed.output()
    assert "Cancelled what an earlier run left" not in killed.output()


def test_the_state_of_a_fit_is_kept_by_other_runs_and_removed_when_all_is_done(between, resumed):
    assert between
    assert not list(resumed.place.folder.rglob("resume.pt"))


def test_after_a_kill_the_same_command_cancels_what_is_left(killed, resumed):
    assert (
        f"Cancelled what an earlier run left in the queue: {killed.left_job}." in resumed.output()
    )


def test_what_was_finished_is_not_made_again(interrupted, killed, resumed):
    assert [run.submitted() for run in (interrupted, killed, resumed)] == [2, 1, 1]
    assert (resumed.fit_folder("first") / "model.pt").stat().st_mtime_ns == interrupted.made


def test_what_was_under_way_goes_on_to_the_same_result(resumed):
    assert "going on at batch" in resumed.fit_log("second")
    first, second = (resumed.weights_of(name) for name in MODELS)
    assert all(torch.equal(first[name], second[name]) for name in first)
