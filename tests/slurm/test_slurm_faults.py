"""Faults of a cluster, each made on a real SLURM: nothing is lost, wrong or stuck.

One Snakemake trains the same model under several names, each meeting another fault, beside one
that meets none; since the seed is the same, all have to end in the same result.
"""

import re
import time
from datetime import datetime

import pytest
import torch
from on_slurm import fits_of, scores_of, slow_model, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(2400)]

MODELS = {
    "undisturbed": slow_model(),
    "cancelled": slow_model(),
    "requeued": slow_model(),
    "overtime": slow_model(pause=1.6),
    "failing_once": slow_model(fails="once"),
    "failing": slow_model(fails="always"),
}
# The retry has to end in the time that is left to it.
ONE_RETRY = ("--retries", "1")


@pytest.fixture(scope="module")
def faults(finished, submit, tmp_path_factory):
    """The run in which everything happens; `moments` has when, for each model."""
    place = finished.copy(tmp_path_factory.mktemp("faults") / "place")
    run = submit(place, *scores_of(MODELS), *ONE_RETRY, config=fits_of(MODELS))
    cluster = run.cluster
    run.moments = {}
    cluster.run("scancel", run.training_job("cancelled"))
    run.moments["cancelled"] = time.time()
    job = run.training_job("requeued")
    cluster.run("scontrol", "requeue", job)
    run.moments["requeued"] = time.time()
    cluster.restart_now(job)
    # Read now: were the job to fail later for another reason, the log would begin again.
    wait_for("the requeued training", lambda: "going on at" in run.fit_log("requeued"))
    run.restarted = {"requeued": run.fit_started("requeued")}
    overtime = wait_for("its job", lambda: cluster.job_of(place, "fit:model=overtime"))
    cluster.run("scontrol", "update", f"JobId={overtime}", "TimeLimit=1")
    wait_for("the time limit", lambda: cluster.state_of(overtime) == "TIMEOUT")
    ended = cluster.field_of(overtime, "EndTime")
    run.moments["overtime"] = datetime.fromisoformat(ended).timestamp()
    again = wait_for("its retry", lambda: cluster.job_of(place, "fit:model=overtime"))
    wait_for("its training", lambda: "going on at" in run.fit_log("overtime"))
    # Where the next rule of a job would begin while the controller is down, the job fails.
    others = [place.folder / path for path in scores_of(MODELS.keys() - {"overtime", "failing"})]
    wait_for("the other fits", lambda: all(path.exists() for path in others))
    cluster.control("halt")
    time.sleep(60)  # more than five looks at a controller that does not answer take
    cluster.control("resume")
    run.outlasted = again, cluster.state_of(again)
    run.wait()
    run.moments["failing_once"] = (place.folder / "failed_once").stat().st_mtime
    print(run.output())
    return run


@pytest.mark.parametrize("model", ["cancelled", "overtime", "requeued", "failing_once"])
def test_a_fit_that_meets_a_fault_ends_in_the_same_result(faults, model, record_property):
    expected, found = faults.fit_folder("undisturbed"), faults.fit_folder(model)
    weights = [faults.weights_of(name) for name in ("undisturbed", model)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert (found / "history.tsv").read_bytes() == (expected / "history.tsv").read_bytes()
    seconds = faults.restarted.get(model, faults.fit_started(model)) - faults.moments[model]
    record_property("measured", f"{model}: trains again {seconds:.0f} s after the fault")


@pytest.mark.parametrize("model", ["cancelled", "overtime", "requeued"])
def test_training_that_was_interrupted_goes_on_from_its_checkpoint(faults, model):
    assert re.search(r"going on at batch \d+ of epoch \d", faults.fit_log(model))


def test_a_fit_outlasts_a_controller_that_is_down_and_snakemake_still_knows_it(faults):
    job, state = faults.outlasted
    assert state == "RUNNING"
    assert len(re.findall(rf"SLURM jobid {job}\b", faults.output())) == 1
    assert (faults.place.folder / scores_of(["overtime"])[0]).is_file()


def test_a_fit_whose_time_is_up_gets_the_same_time_and_not_twice_the_memory(faults):
    once, twice = (faults.asked(model) for model in ("undisturbed", "overtime"))
    assert once["asked_minutes"] == twice["asked_minutes"] == 720
    assert once["asked_mb"] < twice["asked_mb"] <= 2 * once["asked_mb"]


def test_no_fit_streams_from_disk_that_fits_in_memory(faults):
    for model in ("undisturbed", "cancelled", "overtime"):
        line = re.search(r"The cells stay in: (\w+) .*the job was given", faults.fit_log(model))
        assert line.group(1) == "host"


def test_the_end_names_the_fit_that_failed_for_good_and_its_log(faults):
    assert faults.process.returncode == 1
    end = faults.output().rpartition("These jobs failed for good:")[2]
    assert "fit (model failing, loss ce, seed 0): RuntimeError: this model fails on purpose" in end
    assert "results/demo/logs/fit/failing_ce_0.log" in end
    assert len(re.findall(r"^  \w+ \(model", end, re.M)) == 1


def test_the_rest_of_the_matrix_is_finished(faults):
    for model, path in zip(MODELS, scores_of(MODELS), strict=True):
        assert (faults.place.folder / path).is_file() == (model != "failing")


def test_the_state_of_fits_is_kept_where_something_failed(faults):
    """A job that is requeued begins with its fit again, which then ends at once."""
    for model in ("undisturbed", "requeued"):
        assert (faults.fit_folder(model) / "resume.pt").is_file()


def test_each_fault_cost_one_more_job_and_a_requeue_and_a_controller_that_is_down_none(faults):
    again = {"cancelled", "overtime", "failing_once", "failing"}
    assert faults.submitted() == len(MODELS) + len(again)
