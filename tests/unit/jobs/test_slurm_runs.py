"""Whose a SLURM job is: only those of a Snakemake that is known to be dead are cancelled.

squeue and scancel are scripts here; tests/slurm has the real ones.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from hce.errors import UserError
from hce.jobs.process import Process
from hce.jobs.slurm_runs import RUNS, cancel_dead_runs, queued_runs, record_run

DEAD, ALIVE, ELSEWHERE, UNKNOWN = (f"{n}015bfb7-1497-47d2-b8f3-d6e6655a67ce" for n in range(4))


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A squeue in PATH that prints what this file holds, and a scancel that empties it."""
    queue = tmp_path / "queue"
    (tmp_path / "bin").mkdir()
    for name, does in (("squeue", f"cat {queue}"), ("scancel", f"echo $@ >{queue}.c; >{queue}")):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return queue


def record(folder, run_id, process, results="paper"):
    """A run as another process wrote it down."""
    path = folder / RUNS / f"{run_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"results": results, "process": asdict(process)}))


@pytest.fixture
def dead():
    """A process that has ended."""
    words = "from dataclasses import asdict\nfrom hce.jobs.process import Process\nimport json\n"
    done = subprocess.run(
        [sys.executable, "-c", words + "print(json.dumps(asdict(Process.own())))"],
        env=os.environ | {"PYTHONPATH": "scripts"},
        capture_output=True,
        text=True,
        check=True,
    )
    return Process(**json.loads(done.stdout))


def test_only_jobs_of_a_run_that_is_dead_are_cancelled(queue, tmp_path, dead):
    record_run(tmp_path, ALIVE, "demo")
    record(tmp_path, DEAD, dead)
    record(tmp_path, ELSEWHERE, replace(dead, host="another"), results="pilot")
    rows = [f"1|{DEAD}|{tmp_path}", f"2|my-job|{tmp_path}", f"3|{DEAD}|/elsewhere"]
    rows += [f"4|{ALIVE}|{tmp_path}", f"5|{ELSEWHERE}|{tmp_path}"]
    queue.write_text("\n".join(rows) + "\n")
    assert [run.jobs for run in queued_runs(tmp_path)] == [("1",), ("4",), ("5",)]
    assert cancel_dead_runs(tmp_path, "paper") == ["1"]
    assert (tmp_path / "queue.c").read_text() == "1\n"


def test_a_dead_run_is_forgotten_with_its_jobs_and_no_other(queue, tmp_path, dead):
    record_run(tmp_path, ALIVE, "demo")
    record(tmp_path, DEAD, dead)
    record(tmp_path, ELSEWHERE, replace(dead, host="another"))
    queue.write_text("")
    assert cancel_dead_runs(tmp_path, "paper") == []
    assert sorted(path.stem for path in (tmp_path / RUNS).iterdir()) == [ALIVE, ELSEWHERE]


def test_a_prefix_of_job_names_changes_nothing(queue, tmp_path, dead):
    record(tmp_path, f"mine_{DEAD}", dead)
    queue.write_text(f"1|mine_{DEAD}|{tmp_path}\n")
    assert cancel_dead_runs(tmp_path, "paper") == ["1"]


def test_a_run_of_the_same_results_on_another_machine_is_left_to_the_user(queue, tmp_path, dead):
    record(tmp_path, ELSEWHERE, replace(dead, host="another"))
    queue.write_text(f"5|{ELSEWHERE}|{tmp_path}\n")
    with pytest.raises(UserError, match=r"5 \(run paper, process .* on another .*scancel --name"):
        cancel_dead_runs(tmp_path, "paper")
    assert not (tmp_path / "queue.c").exists()


def test_jobs_of_a_run_that_nobody_wrote_down_are_left_to_the_user(queue, tmp_path):
    queue.write_text(f"6|{UNKNOWN}|{tmp_path}\n")
    with pytest.raises(UserError, match=rf"6 \(an unknown run\).*scancel --name={UNKNOWN}"):
        cancel_dead_runs(tmp_path, "paper")


def test_a_later_process_of_the_same_number_is_not_the_one_that_was_written_down():
    own = Process.own()
    assert own.lives() is True
    assert replace(own, started="a boot before 1234").lives() is False
    assert replace(own, host="another").lives() is None


def test_a_squeue_that_gives_no_answer_is_a_clear_error(queue, tmp_path):
    with pytest.raises(UserError, match="squeue gives no answer"):
        queued_runs(tmp_path)  # cat finds no file
