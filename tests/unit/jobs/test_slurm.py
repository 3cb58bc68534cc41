"""What is known about a cluster without one: the profile and the preflight."""

import re
import shutil
import subprocess
import sys

import pytest
import yaml

from hce.jobs.job import last_error
from hce.jobs.slurm_preflight import driver_problem
from hce.jobs.slurm_requests import Request


@pytest.fixture(scope="module")
def profile(repository):
    return yaml.safe_load((repository / "slurm-gpu/config.yaml").read_text())


# Jobs of their own: the large ones, one whose memory follows from a store, and those on a GPU.
ALONE = {"export_counts", "convert_sctab", "make_augmentation", "finish_data", "annotate_cells"}
ALONE |= {"measure_agreement", "build_open_store", "score_open_labels", "export_panel"}


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


@pytest.mark.workflow
def test_the_time_of_a_fit_is_that_of_its_model_at_every_attempt(dry_run):
    models = {"linear": {"hours": 0.5}}
    for attempt in ("1", "3"):
        output = dry_run("--attempt", attempt, config={"models": models})
        resources = re.search(r"rule fit:.*?resources: (.*?)$", output, re.M | re.S).group(1)
        assert "runtime=30" in resources.split(", ")


@pytest.fixture
def dry_run(new_workplace):
    """What `snakemake -n --profile slurm-gpu` prints."""

    def run(*arguments: str, base: str = "demo", config: dict | None = None) -> str:
        place = new_workplace()
        arguments += ("--profile", "slurm-gpu", "--dry-run")
        command = place.command(*arguments, base=base, config=config)
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


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "There is no file"), ("a: [b", "is not valid YAML"), ("- a", "has no keys")],
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


SBATCH = """
--parsable --job-name 5015 --output x.log --export=ALL --comment fit -A lab -p gpu -t 570 -C a100
--qos=long --mem 119000 --requeue --cpus-per-task=8 --gpus=a100:1
"""
FIT = Request(("fit mlp ce 0", "fit mlp ce 1"), ("fit", "predict"), tuple(SBATCH.split()))


def test_where_a_job_runs_is_told_from_what_else_it_asks_for():
    assert " ".join(FIT.place()) == "-A lab -p gpu -C a100 --qos=long --gpus=a100:1"
    assert FIT.partition == "gpu"
    assert FIT.gpu
    assert str(FIT).startswith("fit mlp ce 0 and 1 more: -A lab -p gpu")
    assert str(FIT).endswith("-t 570 --mem 119000")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"gpu": "NVIDIA A100"}, None),
        ({"cuda": None}, "torch 2.13.0 is built without CUDA"),
        ({"driver": ""}, "built for CUDA 13.0, and the node has no NVIDIA driver that answers"),
        (
            {"driver": "535.104.05"},
            "built for CUDA 13.0, which needs driver 580 or later, and the node has 535.104.05",
        ),
        ({"driver": "580.65.06"}, "sees no GPU, though the node has driver 580.65.06"),
        ({"cuda": "12.6", "driver": "470.1"}, "which needs driver 525 or later"),
    ],
)
def test_a_job_without_a_gpu_is_told_what_driver_and_what_build_meet(seen, words):
    node = {"gpu": None, "torch": "2.13.0", "cuda": "13.0", "driver": "580.65.06"} | seen
    problem = driver_problem(node)
    assert problem is None if words is None else words in problem


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
