"""Provenance: everything that made the results, as it is, and said where it is not known."""

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

import hce.jobs.machine
from hce.jobs.machine import describe_machine
from hce.report.file_hashes import hash_files
from hce.report.provenance import (
    NAMED_PACKAGES,
    compare_use,
    describe_code,
    describe_software,
    describe_store,
    in_words,
    read_jobs,
    records,
    sum_by_stage,
)

STAGES = {"fit": "fits", "plot": "figures", "plot_audit": "audit"}


def git(folder, *arguments):
    name = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(folder), *name, *arguments], check=True, capture_output=True)


def test_the_commit_and_changed_files_are_found(tmp_path):
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "init")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-m", "a")
    code = describe_code(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{40}", code["commit"])
    assert code["changed"] == []
    (tmp_path / "a.py").write_text("2")
    assert describe_code(tmp_path)["changed"] == [" M a.py"]


def test_a_folder_without_git_history_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    code = describe_code(tmp_path)
    assert code["commit"] is None
    assert "not a git repository" in code["problem"]


def test_a_machine_without_git_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe_code(tmp_path)["problem"] == "git is not installed"


def test_all_packages_are_listed_and_the_named_ones_are_among_them():
    software = describe_software()
    assert set(NAMED_PACKAGES) <= set(software["packages"])
    assert software["packages"]["pandas"] == pd.__version__


def test_inputs_are_hashed_and_folders_file_by_file(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("b", "a"):
        (tmp_path / "in" / name).write_text(name)
    (tmp_path / "x.obo").write_text("x")
    table = hash_files({"ontology": [str(tmp_path / "x.obo")], "files": [str(tmp_path / "in")]})
    assert table["input"].tolist() == ["ontology", "files", "files"]
    assert table["bytes"].tolist() == [1, 1, 1]
    expected = [hashlib.sha256(text.encode()).hexdigest() for text in "xab"]
    assert table["sha256"].tolist() == expected


@pytest.fixture
def run(tmp_path):
    """Benchmarks and logs of four jobs, one of them restarted, and of a rule that is gone."""

    def job(name, *lines, machine=None, asked=None, last="more"):
        benchmark = tmp_path / "benchmarks" / f"{name}.jsonl"
        benchmark.parent.mkdir(parents=True, exist_ok=True)
        benchmark.write_text("".join(json.dumps(line) + "\n" for line in lines))
        if machine:
            log = tmp_path / "logs" / f"{name}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            lines = [f"Machine: {machine}", f"Asked for: {json.dumps(asked)}", last]
            log.write_text("".join(f"2026-01-01 00:00:00 INFO fit: {line}\n" for line in lines))

    def took(seconds, memory):
        return {"s": seconds, "cpu_time": 2 * seconds, "max_rss": memory}

    host = "CPU, 2 of 4 cores, 8 GB, H200"
    first = {"asked_mb": 4000, "asked_minutes": 720, "asked_cores": 8}
    again = first | {"asked_mb": 8000, "asked_minutes": None}
    placed = "The cells stay in: host (training.residency auto; they take 3 GB)"
    job("fit/linear_ce_0", took(1, 1), took(10, 100), machine=host, asked=first, last=placed)
    job("fit/linear_hce_0", took(20, 50), machine=host, asked=again)
    job("plot_audit", {"s": 0.1, "cpu_time": "NA", "max_rss": "NA"})
    job("plot_1", took(5, 5))
    job("gone_1", took(5, 5))
    return tmp_path


def test_jobs_belong_to_the_rule_of_the_longest_name(run):
    jobs = read_jobs([run], STAGES)
    assert jobs[["stage", "rule", "job"]].to_numpy().tolist() == [
        ["fits", "fit", "linear_ce_0"],
        ["fits", "fit", "linear_hce_0"],
        ["figures", "plot", "1"],
        ["audit", "plot_audit", ""],
    ]


def test_the_last_start_of_a_job_counts(run):
    assert read_jobs([run], STAGES)["seconds"].tolist() == [10, 20, 5, 0.1]


def test_stages_have_sums_of_time_and_the_largest_memory(run):
    sums = sum_by_stage(read_jobs([run], STAGES), STAGES).set_index("stage")
    assert sums.index.tolist() == ["fits", "figures", "audit"]
    assert sums.loc["fits", ["jobs", "seconds", "cpu_seconds"]].tolist() == [2, 30, 60]
    assert sums.loc["fits", "memory_mb"] == pytest.approx(100 * 2**20 / 1e6)
    assert pd.isna(sums.loc["audit", "memory_mb"])


def test_what_a_rule_asked_for_stands_beside_the_most_that_it_used(run):
    use = compare_use(read_jobs([run], STAGES)).set_index("rule")
    fit = use.loc["fit"]
    assert fit[["jobs", "asked_mb", "asked_minutes", "asked_cores"]].tolist() == [2, 8000, 720, 8]
    assert fit["memory_mb"] == pytest.approx(100 * 2**20 / 1e6)
    assert fit["minutes"] == pytest.approx(20 / 60)
    assert fit["cores"] == pytest.approx(2)
    assert use.loc["plot_audit", ["asked_mb", "memory_mb", "cores"]].isna().all()


def test_the_words_say_where_the_cells_of_each_fit_were(run):
    assert read_jobs([run], STAGES)["residency"].tolist() == ["host", "", "", ""]
    text = in_words(record(run))
    assert "## Where the cells were during training" in text
    assert re.search(r"\| host +\| +1 \| linear_ce_0 +\|", text)
    (run / "logs/fit/linear_ce_0.log").write_text("")
    assert "Where the cells were" not in in_words(record(run))


def test_a_run_without_benchmarks_has_no_jobs(tmp_path):
    jobs = read_jobs([tmp_path], STAGES)
    assert jobs.empty
    assert compare_use(jobs).empty
    assert sum_by_stage(jobs, STAGES).empty


def record(run):
    jobs = read_jobs([run], STAGES)
    release = {
        "release": "2023-05-15",
        "uri": None,
        "summary": {"census_build_date": "2023-05-15"},
        "cells": {"all": 12345},
    }
    tables = {"jobs": jobs, "stages": sum_by_stage(jobs, STAGES), "use": compare_use(jobs)}
    return {
        "run": "test",
        "note": "Simulated data",
        "code": {"version": "1", "commit": None, "changed": [], "problem": "no git"},
        "software": describe_software(),
        "releases": [release],
        "inputs": [{"input": "ontology", "file": "x.obo", "bytes": 1234567, "sha256": "ab"}],
        "stores": [{"set": "id", "cells": 5, "values": "counts", "sha256": "cd"}],
        **{name: records(table) for name, table in tables.items()},
    }


def test_the_words_say_all_parts_and_what_is_not_known(run):
    text = in_words(record(run))
    assert "**Simulated data.**" in text
    assert "the commit is not known: no git." in text
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in text.splitlines() if "|" in line]
    assert ["ontology", "x.obo", "1,234,567", "ab"] in rows
    assert ["fits", "2", "30", "60", "105"] in rows
    assert ["audit", "1", "0", "-", "-"] in rows
    assert ["fit", "2", "8,000", "105", "720", "0.3", "8", "2.0"] in rows
    assert ["CPU, 2 of 4 cores, 8 GB, H200", "fits", "2"] in rows
    assert ["not recorded", "figures, audit", "2"] in rows
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_a_store_is_known_by_the_checksum_of_its_manifest(tmp_path):
    manifest = tmp_path / "id" / "manifest.json"
    manifest.parent.mkdir()
    manifest.write_text(json.dumps({"cells": 5, "values": "counts", "shards": []}))
    expected = hashlib.sha256(manifest.read_bytes()).hexdigest()
    found = describe_store(manifest.parent)
    assert found == {"set": "id", "cells": 5, "values": "counts", "sha256": expected}


def test_gpus_of_the_machine_are_named(tmp_path, monkeypatch):
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'NVIDIA H200'\necho 'NVIDIA H200'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert describe_machine().endswith("GB, NVIDIA H200, NVIDIA H200")


def test_a_driver_that_does_not_answer_is_no_gpu(tmp_path, monkeypatch):
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\nexec sleep 5\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(hce.jobs.machine, "PATIENCE", 0.1)
    assert describe_machine().endswith("no GPU")


def test_every_rule_that_takes_time_is_measured():
    rules = Path(__file__).parents[3] / "workflow" / "rules"
    unmeasured = []
    for file in rules.glob("*.smk"):
        for text in re.split(r"(?m)^rule ", file.read_text())[1:]:
            if "    benchmark:" not in text and "    localrule: True" not in text:
                unmeasured.append(text.split(":")[0])
    assert unmeasured == ["write_provenance"]  # it writes the record
