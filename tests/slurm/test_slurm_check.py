"""`make slurm-check` on a real SLURM: each thing that is missing is one line with its cure."""

import subprocess
import sys

import pytest
import torch
import yaml
from on_slurm import wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]


@pytest.fixture
def check(cluster, repository, tmp_path):
    """Runs the check with changes of the profile, the config and the environment."""

    def run(resources=None, scratch="scratch", minutes=1.0, **env):
        profile = yaml.safe_load((repository / "slurm-gpu/config.yaml").read_text())
        profile["default-resources"] |= resources or {}
        (tmp_path / "profile").mkdir()
        (tmp_path / "profile/config.yaml").write_text(yaml.safe_dump(profile))
        (tmp_path / "scratch.yaml").write_text(yaml.safe_dump({"data": {"dir": scratch}}))
        command = [sys.executable, repository / "scripts/slurm_check.py"]
        command += ["--profile", "profile", "--configfile", "scratch.yaml"]
        command += ["--minutes", str(minutes)]
        done = subprocess.run(
            command, cwd=tmp_path, env=cluster.env | env, capture_output=True, text=True
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, done.stdout

    return run


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_job_without_a_gpu_for_torch_is_the_one_thing_to_mend(check):
    status, output = check()
    assert status == 1
    assert "ok    a job with --partition=cpu: torch " in output
    built = "for CUDA" if torch.version.cuda else "without CUDA"
    assert "ok    SLURM accepts --partition=gpu --gpus=1" in output
    failed = output.partition("FAIL")[2]
    assert (
        f"a job with --partition=gpu --gpus=1: torch {torch.__version__} is built {built}" in failed
    )
    assert "torch's CUDA build: see envs/README.md" in failed
    assert "1 to mend." in output


def test_an_unknown_partition_is_named(check):
    status, output = check({"slurm_partition": "nowhere"})
    assert status == 1
    assert "FAIL  --partition=nowhere: " in output
    assert "Invalid partition name specified" in output or "invalid partition" in output.lower()
    assert "Edit account, partition and GPU at the top of the profile" in output


def test_a_scratch_directory_that_cannot_be_written_is_named(check, tmp_path):
    (tmp_path / "taken").write_text("a file")
    status, output = check(scratch="taken/atlas")
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
    assert "FAIL  a job with --partition=gpu --gpus=1 did not start and end" in output


def test_a_partition_that_is_too_short_for_a_fits_last_attempt_is_named(check, cluster):
    cluster.run("scontrol", "update", "PartitionName=gpu", "MaxTime=1-00:00:00")
    try:
        _, output = check()
    finally:
        cluster.run("scontrol", "update", "PartitionName=gpu", "MaxTime=INFINITE")
    words = "partition gpu admits jobs of 24 h; a fit's last attempt asks for 49.5 h"
    assert f"FAIL  {words}" in output
    assert "fit: {slurm_partition: gpu, runtime: 600}" in output


def test_a_controller_that_is_down_is_said(check, cluster):
    cluster.control("halt")
    try:
        status, output = check()
    finally:
        cluster.control("resume")
    assert status == 1
    assert "FAIL  Slurmctld(primary)" in output
    assert "DOWN" in output


def test_jobs_of_a_dead_snakemake_are_listed(check, cluster, tmp_path):
    name = "5015bfb7-1497-47d2-b8f3-d6e6655a67ce"
    words = cluster.run(
        "sbatch", "--parsable", f"--chdir={tmp_path}", f"--job-name={name}", "--wrap", "sleep 600"
    )
    job = words.strip()
    try:
        _, output = check()
    finally:
        cluster.run("scancel", job)
    assert f"FAIL  jobs from this folder in the queue: {job}" in output
