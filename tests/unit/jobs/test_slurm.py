"""What is known about a cluster without one: the profile, the preflight, leftover jobs."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from hce.errors import UserError
from hce.jobs.job import last_error
from hce.jobs.slurm_cleanup import cancel_leftover_jobs, leftover_jobs
from hce.jobs.slurm_preflight import (
    FIT_JOB_MINUTES,
    GPU_RULES,
    Request,
    longest_fit_job,
    requests_of,
)


@pytest.fixture(scope="module")
def profile(repository):
    return yaml.safe_load((repository / "slurm-gpu/config.yaml").read_text())


# Jobs of their own: the large ones, one whose memory follows from a store, and one on a GPU.
ALONE = {"export_counts", "convert_sctab", "make_augmentation", "annotate_cells"}


def test_every_rule_is_in_a_group_of_the_profile_or_alone_for_a_reason(profile, repository):
    text = "".join(path.read_text() for path in (repository / "workflow/rules").glob("*.smk"))
    bodies = re.split(r"^\s*rule (\w+):\n", text, flags=re.M)[1:]
    rules = dict(zip(bodies[::2], bodies[1::2], strict=True))
    local = {rule for rule, body in rules.items() if "localrule: True" in body}
    grouped = {entry.split("=")[0] for entry in profile["groups"]}
    assert grouped == set(rules) - local - ALONE
    assert set(profile["set-resources"]) <= set(rules)


def test_every_rule_names_the_environment_for_conda(repository):
    for path in (repository / "workflow/rules").glob("*.smk"):
        bodies = re.split(r"^\s*rule \w+:\n", path.read_text(), flags=re.M)[1:]
        assert all(re.search(r"conda:\s+ENVIRONMENT\n", body) for body in bodies), path.name


@pytest.mark.workflow
def test_an_image_that_has_not_been_built_is_said_before_anything_runs(new_workplace):
    done = new_workplace().snakemake("--dry-run", "--software-deployment-method", "apptainer")
    assert done.returncode != 0
    assert (
        "make it with `apptainer build envs/hce.sif envs/container.def`"
        in done.stdout + done.stderr
    )


def test_what_every_rule_asks_for_grows_with_each_attempt(repository):
    for path in (repository / "workflow/rules").glob("*.smk"):
        assert not re.findall(r"(?:mem_mb|runtime)=\d+", path.read_text()), path.name


@pytest.fixture
def dry_run(new_workplace):
    """What `snakemake -n --profile slurm-gpu` prints."""

    def run(base: str = "demo", config: dict | None = None) -> str:
        place = new_workplace()
        command = place.command("--profile", "slurm-gpu", "--dry-run", base=base, config=config)
        done = subprocess.run(command, cwd=place.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout + done.stderr

    return run


@pytest.mark.workflow
@pytest.mark.parametrize("base", ["demo", "pbmc", "pilot"])
def test_the_groups_of_the_profile_do_not_wait_for_each_other(dry_run, base):
    assert re.search(r"^total +\d\d", dry_run(base=base), re.M)


@pytest.mark.workflow
def test_a_dry_run_of_the_paper_lists_every_job_and_what_it_asks_for(dry_run):
    output = dry_run(base="config")
    counts = dict(re.findall(r"^(\w+) +(\d+)$", output, re.M))
    assert {rule: counts[rule] for rule in ("fit", "predict", "score_fit")} == dict.fromkeys(
        ("fit", "predict", "score_fit"), "24"
    )
    fits = re.findall(r"rule fit:.*?resources: (.*?)$", output, re.M | re.S)
    assert len(fits) == 24
    assert all("slurm_partition=gpu" in asked and "gpu=1" in asked for asked in fits)


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("training", "asked"),
    [
        ({"device": "cpu"}, {"gpu": "0"}),
        (
            {"devices": 4, "nodes": 2},
            {"gpu": "8", "nodes": "2", "slurm_extra": "--ntasks-per-node=4 --gpus-per-node=4"},
        ),
    ],
    ids=["cpu", "distributed"],
)
def test_gpus_and_nodes_of_a_fit_follow_from_the_config(dry_run, training, asked):
    output = dry_run(config={"training": training})
    resources = re.search(r"rule fit:.*?resources: (.*?)$", output, re.M | re.S).group(1)
    found = dict(entry.split("=", 1) for entry in resources.split(", "))
    assert {name: found[name] for name in asked} == asked


@pytest.mark.workflow
def test_fits_of_one_job_that_stand_at_different_steps_go_on_together(finished, tmp_path):
    place = finished.copy(tmp_path / "place")
    results = place.folder / "results/demo"
    shutil.rmtree(results / "tables")
    steps = {"ce/0": ("fits", "predictions", "scores"), "hce/0": ("predictions", "scores")}
    for fit, removed in (steps | {"hce/1": ("scores",)}).items():
        for step in removed:
            shutil.rmtree(results / step / "linear" / fit)
    arguments = ("--profile", "slurm-gpu", "--dry-run", "--group-components", "fit=4", "store=4")
    done = subprocess.run(
        place.command(*arguments), cwd=place.folder, capture_output=True, text=True
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-2000:]
    assert len(re.findall(r"^ +rule fit:", output, re.M)) == 1
    assert len(re.findall(r"^ +rule predict:", output, re.M)) == 2


def test_connections_to_the_census_are_limited_by_the_config_alone(profile):
    assert "resources" not in profile


def test_rules_of_one_group_ask_for_one_partition(profile):
    partitions: dict[str, set] = {}
    for entry in profile["groups"]:
        rule, group = entry.split("=")
        resources = profile["default-resources"] | profile["set-resources"].get(rule, {})
        partitions.setdefault(group, set()).add(resources["slurm_partition"])
    assert all(len(found) == 1 for found in partitions.values())


ALONE_ON_A_GPU = {"device": "auto", "devices": 1, "nodes": 1}


def test_the_preflight_tries_each_request_of_the_profile_once():
    gpu = {"slurm_partition": "gpu", "gpu_model": "a100"}
    profile = {
        "default-resources": {"slurm_account": "lab", "slurm_partition": "cpu", "mem_mb": 2000},
        "set-resources": dict.fromkeys(GPU_RULES, gpu),
    }
    asked = [request.options() for request in requests_of(profile, ALONE_ON_A_GPU)]
    assert asked == [
        ["--partition=cpu", "--account=lab"],
        ["--partition=gpu", "--account=lab", "--gpus=a100:1"],
    ]


def test_the_preflight_tries_what_a_distributed_fit_asks_for(profile):
    training = ALONE_ON_A_GPU | {"devices": 4, "nodes": 2}
    asked = [str(request) for request in requests_of(profile, training)]
    assert asked == [
        "--partition=cpu",
        "--partition=gpu --gpus=1",
        "--partition=gpu --gpus=8 --nodes=2",
    ]


def test_the_preflight_asks_for_no_gpu_where_the_config_says_cpu(profile):
    asked = requests_of(profile, ALONE_ON_A_GPU | {"device": "cpu"})
    assert asked == [Request("cpu"), Request("gpu")]


def test_the_preflight_asks_for_what_else_a_site_needs():
    profile = {
        "default-resources": {"slurm_account": None, "qos": "normal"},
        "set-resources": {"fit": {"constraint": "a100", "slurm_extra": "'--exclusive'"}},
        "slurm-reservation": "course",
    }
    asked = [request.options() for request in requests_of(profile, ALONE_ON_A_GPU)]
    assert asked == [
        ["--qos=normal", "--reservation=course"],
        ["--gpus=1", "--qos=normal", "--reservation=course"],
        ["--gpus=1", "--qos=normal", "--constraint=a100", "--reservation=course", "--exclusive"],
    ]


def test_the_preflight_knows_how_long_a_fits_job_may_take(profile, repository):
    text = "".join(path.read_text() for path in (repository / "workflow/rules").glob("*.smk"))
    bodies = re.split(r"^\s*rule (\w+):\n", text, flags=re.M)[1:]
    rules = dict(zip(bodies[::2], bodies[1::2], strict=True))
    minutes = {
        rule: int(re.search(r"runtime=growing\((\d+)\)", rules[rule]).group(1))
        for rule in FIT_JOB_MINUTES
    }
    assert minutes == FIT_JOB_MINUTES
    assert longest_fit_job(profile) == (1 + profile["retries"]) * sum(minutes.values())
    fixed = {"retries": 2, "set-resources": {"fit": {"runtime": 600}}}
    assert longest_fit_job(fixed) == 600 + 3 * (120 + 30 + 120)


def test_the_preflight_knows_the_rules_that_take_a_gpu(repository):
    text = "".join(path.read_text() for path in (repository / "workflow/rules").glob("*.smk"))
    bodies = re.split(r"^\s*rule (\w+):\n", text, flags=re.M)[1:]
    with_gpu = {
        rule for rule, body in zip(bodies[::2], bodies[1::2], strict=True) if "gpu=" in body
    }
    assert with_gpu == set(GPU_RULES)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "There is no file"), ("a: [b", "is no YAML"), ("- a", "has no keys")],
    ids=["missing", "broken", "list"],
)
def test_the_preflight_names_a_config_that_cannot_be_read(repository, tmp_path, content, words):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_text(content)
    done = subprocess.run(
        [sys.executable, repository / "scripts/slurm_check.py", "--configfile", path],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert str(path) in done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_account_is_left_to_slurm(profile):
    requests = requests_of(profile, ALONE_ON_A_GPU)
    assert all("--account" not in str(request) for request in requests)


@pytest.fixture
def fake_squeue(tmp_path, monkeypatch):
    """Puts a squeue in PATH that prints what `queue` holds, and a scancel that empties it."""
    queue = tmp_path / "queue"
    for name, does in (("squeue", f"cat {queue}"), ("scancel", f"echo $@ >{queue}.c; >{queue}")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return queue


RUN = "5015bfb7-1497-47d2-b8f3-d6e6655a67ce"


def test_only_snakemakes_jobs_of_the_same_folder_are_cancelled(fake_squeue, tmp_path):
    rows = [f"1|{RUN}|{tmp_path}", f"2|my-job|{tmp_path}", f"3|{RUN}|/elsewhere"]
    fake_squeue.write_text("\n".join([*rows, f"4|pre_{RUN}|{tmp_path}"]) + "\n")
    assert leftover_jobs(tmp_path) == ["1", "4"]
    assert cancel_leftover_jobs(tmp_path) == ["1", "4"]
    assert (tmp_path / "queue.c").read_text() == "1 4\n"


def test_a_squeue_that_gives_no_answer_is_a_clear_error(fake_squeue, tmp_path):
    with pytest.raises(UserError, match="squeue gives no answer"):
        leftover_jobs(tmp_path)  # cat finds no file


def test_the_last_error_of_a_log_is_found_with_and_without_traceback(tmp_path):
    log = tmp_path / "x.log"
    assert last_error(log) is None
    log.write_text("2026-11-21 05:00:00,000 INFO fit: cells\n")
    assert last_error(log) is None
    log.write_text("2026-11-21 05:00:00,000 ERROR fit: No such file x: make it.\n")
    assert last_error(log) == "No such file x: make it."
    log.write_text(
        "2026-11-21 05:00:00,000 ERROR fit: The job failed.\nTraceback …\nValueError: no\n"
    )
    assert last_error(log) == "ValueError: no"
