"""Data of a group: one run builds them at a time, and others take them when they are finished."""

import copy
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest
import yaml

from hce import checksums
from hce.config import read_schema, resolve
from hce.errors import UserError
from hce.jobs.process import Process
from hce.jobs.shared_data import BUILDING, READY, VECTORS, check_ready, claim_data, write_ready


@pytest.fixture(scope="module")
def config(repository):
    schema = read_schema(repository / "workflow/schemas/config.schema.yaml")
    return resolve(yaml.safe_load((repository / "config/config.yaml").read_text()), schema)


CLAIM = """
import sys, time
from hce.jobs.shared_data import claim_data
claim_data(sys.argv[1], None)
print("claimed", flush=True)
sys.stdin.read()
"""


def test_a_second_run_is_told_who_builds_and_may_build_when_the_first_has_ended(
    tmp_path, repository
):
    first = subprocess.Popen(
        [sys.executable, "-c", CLAIM, tmp_path],
        env=os.environ | {"PYTHONPATH": str(repository / "scripts")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout.readline() == "claimed\n"
    with pytest.raises(UserError, match=rf"is being built by process {first.pid} of \w+ on "):
        claim_data(tmp_path, None)
    first.communicate("")
    assert not (tmp_path / BUILDING).exists()


def claimed_by(folder, process, run_id=None):
    folder.mkdir(exist_ok=True)
    (folder / BUILDING).write_text(json.dumps({"process": asdict(process), "run_id": run_id}))


def test_a_dead_run_does_not_keep_the_folder(tmp_path):
    claimed_by(tmp_path, replace(Process.own(), started="an earlier boot 1"))
    claim_data(tmp_path, None)
    assert json.loads((tmp_path / BUILDING).read_text())["process"]["pid"] == os.getpid()


def test_a_run_on_a_machine_that_cannot_be_seen_keeps_it(tmp_path):
    claimed_by(tmp_path, replace(Process.own(), host="another", user="anna"))
    with pytest.raises(UserError, match=r"by process .* of anna on another .*delete .*building"):
        claim_data(tmp_path, None)


def test_a_dead_run_whose_slurm_jobs_still_write_keeps_it(tmp_path, monkeypatch):
    """squeue is a script here."""
    (tmp_path / "squeue").write_text("#!/bin/sh\necho 17\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    dead = replace(Process.own(), started="an earlier boot 1")
    claimed_by(tmp_path / "data", dead, run_id="5015bfb7")
    with pytest.raises(UserError, match="whose SLURM jobs 17 are in the queue"):
        claim_data(tmp_path / "data", None)


@pytest.fixture
def finished(tmp_path, config):
    folder = tmp_path / "atlas/paper"
    (folder / "store/train").mkdir(parents=True)
    (folder / "store/train/shard.arrow").write_text("counts")
    (folder / "augmentation").mkdir()
    (folder / VECTORS).write_text("vectors")
    (folder / "logs").mkdir()
    (folder / "logs/a.log").write_text("words")
    assert write_ready(folder, config, folder / READY) == 2
    return folder


def test_finished_data_are_taken_whatever_their_times(finished, config):
    old = time.time() - 10**7
    os.utime(finished / "store/train/shard.arrow", (old, old))
    (finished / "logs/a.log").unlink()
    check_ready(finished, config)


def test_data_with_a_file_that_changed_since_it_was_written_are_not_finished(finished, config):
    shard = finished / "store/train/shard.arrow"
    checksums.record(shard)
    write_ready(finished, config, finished / READY)
    shard.write_text("other")
    with pytest.raises(UserError, match=r"shard\.arrow is not as it was written"):
        write_ready(finished, config, finished / READY)


def test_data_that_are_not_finished_or_not_whole_are_named(finished, config):
    (finished / "store/train/shard.arrow").write_text("count")
    with pytest.raises(UserError, match=r"shard\.arrow is missing or has changed since ready"):
        check_ready(finished, config)
    (finished / READY).unlink()
    with pytest.raises(UserError, match=r"has no ready\.json .*its own run has not ended"):
        check_ready(finished, config)


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        (("split", "seed"), 7, False),
        (("curation", "min_cells"), 9, False),
        (("vocabulary", "min_cells"), 9, False),
        (("data", "new_since"), "previous", False),
        (("data", "min_genes"), 0.123, False),
        (("training", "max_epochs"), 9, True),
        (("data", "dir"), "/elsewhere", True),
    ],
)
def test_data_of_other_settings_are_refused_with_the_key(finished, config, path, value, allowed):
    other = copy.deepcopy(config)
    other[path[0]][path[1]] = value
    if allowed:
        check_ready(finished, other)
    else:
        with pytest.raises(UserError, match=f"was made with another {path[0]}"):
            check_ready(finished, other)


def test_data_without_augmentation_serve_the_models_that_need_none(finished, config):
    (finished / VECTORS).unlink()
    write_ready(finished, config, finished / READY)
    with pytest.raises(UserError, match=f"made without {VECTORS}, with which the model mlp is"):
        check_ready(finished, config)
    linear = copy.deepcopy(config)
    linear["fits"]["models"] = ["linear"]
    check_ready(finished, linear)
