"""`make slurm-check` on a real SLURM: each thing that is missing is one line with its cure."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from on_slurm import wait_for

from hce.jobs.slurm_preflight import Preflight
from hce.jobs.slurm_requests import ask_snakemake

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


@pytest.fixture
def check(cluster, repository, new_workplace):
    """Runs the check in a folder of its own, with changes of profile, config and environment."""

    def run(resources=None, config=None, base="demo", minutes=1.0, place=None, **env):
        place = place or new_workplace()
        profile = yaml.safe_load((repository / "slurm-gpu/config.yaml").read_text())
        profile["default-resources"] |= resources or {}
        (place.folder / "profile").mkdir()
        (place.folder / "profile/config.yaml").write_text(yaml.safe_dump(profile))
        (place.folder / "changes.yaml").write_text(yaml.safe_dump(config or {}))
        command = [sys.executable, repository / "scripts/slurm_check.py", "--profile", "profile"]
        command += ["--configfile", f"config/{base}.yaml", "changes.yaml"]
        command += ["--minutes", str(minutes)]
        env = cluster.env | {"PYTHONPATH": ""} | env
        done = subprocess.run(command, cwd=place.folder, env=env, capture_output=True, text=True)
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, done.stdout

    return run


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_job_without_a_gpu_for_torch_is_the_one_thing_to_mend(check):
    status, output = check()
    assert status == 1
    assert "ok    a job with -p cpu: torch " in output
    built = "is built for CUDA" if torch.version.cuda else "is built without CUDA"
    assert re.search(r"ok    SLURM accepts fit linear ce 0 and \d+ more: -p gpu --gpus=1", output)
    failed = output.partition("FAIL")[2]
    assert f"a job with -p gpu --gpus=1: torch {torch.__version__} {built}" in failed
    assert 'See envs/README.md, "Which driver"' in failed
    assert "1 to mend." in output


def test_an_unknown_partition_is_named(check):
    status, output = check({"slurm_partition": "nowhere"})
    assert status == 1
    assert re.search(r"FAIL  \w+.*: -p nowhere -t 240 --mem 4000: .*nvalid partition", output)
    assert "edit the top of the profile" in output


def test_a_scratch_directory_that_cannot_be_written_is_named(check, new_workplace):
    place = new_workplace()
    (place.folder / "taken").write_text("a file")
    status, output = check(config={"data": {"dir": "taken/atlas"}}, place=place)
    assert status == 1
    assert "FAIL  data.dir taken/atlas cannot be written: Not a directory" in output


def test_a_machine_without_slurm_is_told_to_go_to_a_login_node(check, tmp_path):
    status, output = check(PATH=str(tmp_path))
    assert status == 1
    assert "FAIL  no sbatch, squeue, scancel, srun" in output
    assert "Run this on a login node" in output


def test_a_job_that_cannot_start_is_given_up_and_taken_back(check, cluster):
    everything = ("--partition=gpu", "--gpus=8", "--nodes=2", "--output=/dev/null")
    job = cluster.run("sbatch", "--parsable", *everything, "--wrap=sleep 600").strip()
    wait_for("all GPUs are taken", lambda: cluster.state_of(job) == "RUNNING")
    try:
        status, output = check(minutes=0.1)
        assert cluster.run("squeue", "--noheader", "--format=%A").split() == [job]
    finally:
        cluster.run("scancel", job)
    assert status == 1
    assert "FAIL  a job with -p gpu --gpus=1 did not start and end" in output


@pytest.fixture
def limits(cluster):
    """Sets limits of the GPU partition for a test."""

    def set_limits(*limits):
        cluster.run("scontrol", "update", "PartitionName=gpu", *limits)

    yield set_limits
    set_limits("MaxTime=INFINITE", "MaxMemPerNode=0")


# No way to the Census from any machine that the tests run on.
CLOSED = {"data": {"connection": {"directory": "http://127.0.0.1:9/release.json"}}}
ACCEPTED = r"ok    SLURM accepts fit \w+ \w+ \d(?: and (\d+) more)?: .* -t (\d+) --mem (\d+)"


def test_the_fits_of_the_paper_are_accepted_where_jobs_end_after_a_day(check, limits):
    """On nodes with cards of 40 and 80 GB; and that jobs have no internet is said with the cure."""
    limits("MaxTime=1-00:00:00")
    status, output = check(base="config", config=CLOSED, PYTHONPATH="/foreign/packages")
    accepted = re.findall(ACCEPTED, output)
    assert sum(1 + int(more or 0) for more, _, _ in accepted) == 24
    assert max(int(minutes) for _, minutes, _ in accepted) <= 23 * 60
    assert {int(memory) // 1000 for _, _, memory in accepted} == {119}
    assert status == 1
    assert "FAIL  Cannot look up the build" in output
    assert "FAIL  jobs with -p cpu have PYTHONPATH set" in output
    assert "Jobs have no way to the Census: `make data` on a node that has one" in output


@pytest.fixture
def accept(cluster, new_workplace, monkeypatch, capsys):
    """What the check says of the requests of the paper, without jobs of its own."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, cluster.env[name])
    place = new_workplace()
    monkeypatch.chdir(place.folder)

    def say(config):
        Path("changes.yaml").write_text(yaml.safe_dump(config))
        check = Preflight(seconds=60)
        for request in ask_snakemake(Path("slurm-gpu"), [Path("changes.yaml")]):
            check.accepted(request)
        return capsys.readouterr().out

    return say


def test_limits_of_a_partition_that_slurm_lets_jobs_wait_for_are_named(accept, limits):
    limits("MaxTime=12:00:00", "MaxMemPerNode=100000")
    output = accept({"training": {"max_epochs": 50}})
    too_long = r"FAIL  fit tabnet ce 0.*: partition gpu admits jobs of 12 h\n.*slurm\.max_hours"
    assert re.search(too_long, output)
    too_large = (
        r"FAIL  fit linear ce 0.*gives a job 100000 MB on a node at most\n.*residency to disk"
    )
    assert re.search(too_large, output)


def test_the_cures_that_are_named_for_a_partitions_limits_are_cures(accept, limits):
    limits("MaxTime=12:00:00", "MaxMemPerNode=100000")
    output = accept({"slurm": {"max_hours": 12}, "training": {"residency": "disk"}})
    assert "FAIL" not in output
    accepted = re.findall(ACCEPTED, output)
    assert sum(1 + int(more or 0) for more, _, _ in accepted) == 24
    assert max(int(memory) for _, _, memory in accepted) < 10_000


def test_a_controller_that_is_down_is_said(check, cluster):
    cluster.control("halt")
    try:
        status, output = check()
    finally:
        cluster.control("resume")
    assert status == 1
    assert "FAIL  Slurmctld(primary)" in output
    assert "DOWN" in output


def test_jobs_of_a_snakemake_that_cannot_be_seen_are_listed(check, cluster, new_workplace):
    place = new_workplace()
    name = "5015bfb7-1497-47d2-b8f3-d6e6655a67ce"
    words = cluster.run(
        *("sbatch", "--parsable", f"--chdir={place.folder}", f"--job-name={name}"),
        *("--output=/dev/null", "--wrap", "sleep 600"),
    )
    job = words.strip()
    try:
        _, output = check(place=place)
    finally:
        cluster.run("scancel", job)
    assert f"cannot be seen: {job} (an unknown run)" in output
    assert f"scancel --name={name}" in output
