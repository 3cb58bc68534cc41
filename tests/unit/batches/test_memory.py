"""What a fit asks for is what it needs, and what it was given is what it counts on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hce.batches import memory as module
from hce.batches.memory import HOST_RESERVE, asked_mb, free_host_memory

GB = 10**9
PAPER = int(112.6 * GB)
NO_LIMIT = "9223372036854771712"


def test_a_fit_asks_for_its_cells_and_what_it_needs_beside_them():
    asked = 10**6 * asked_mb("auto", PAPER)
    assert PAPER + HOST_RESERVE < asked < PAPER + 10 * GB


def test_several_processes_hold_the_cells_once_and_what_is_beside_them_each():
    beside = asked_mb("auto", 0)
    assert asked_mb("auto", PAPER, 4) == pytest.approx(PAPER / 1e6 + 4 * beside, abs=4)
    assert asked_mb("auto", PAPER, 4, nodes=2) == pytest.approx(PAPER / 2e6 + 4 * beside, abs=4)


def test_a_next_attempt_asks_for_more_of_what_is_not_known_and_not_for_twice_the_cells():
    first, second = asked_mb("auto", PAPER, attempt=1), asked_mb("auto", PAPER, attempt=2)
    assert first < second < 1.1 * first


@pytest.mark.parametrize("residency", ["disk", "gpu"])
def test_cells_that_the_host_does_not_hold_are_not_asked_for(residency):
    assert asked_mb(residency, PAPER) == asked_mb(residency, 0) < 10_000


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with 100 GB free, without control groups; the process uses 1 GB.

    The places where limits are read are files here.
    """
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {100 * GB // 1024} kB\n")
    (tmp_path / "status").write_text(f"Name: python\nVmRSS:\t{GB // 1024} kB\n")
    (tmp_path / "groups").write_text("")
    for name, file in (("MEMINFO", "meminfo"), ("STATUS", "status"), ("GROUPS", "groups")):
        monkeypatch.setattr(module, name, tmp_path / file)
    monkeypatch.setattr(module, "CGROUP", tmp_path / "cgroup")
    return tmp_path


def test_without_limits_all_that_is_free_may_be_taken(machine):
    assert free_host_memory() == pytest.approx(100 * GB, rel=1e-6)


def test_what_the_job_was_given_counts_where_nothing_holds_it_to_it(machine):
    assert free_host_memory(given_mb=50_000) == pytest.approx(49 * GB, rel=1e-6)
    assert free_host_memory(given_mb=50_000, processes=4) == pytest.approx(46 * GB, rel=1e-6)
    assert free_host_memory(given_mb=500_000) == pytest.approx(100 * GB, rel=1e-6)


def group(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content + "\n")


def test_a_limit_of_version_2_counts_on_every_level(machine):
    (machine / "groups").write_text("0::/slurm/job_1/step_0\n")
    stat = f"anon {2 * GB}\nactive_file {GB}\ninactive_file 0"
    used = {"memory.current": str(5 * GB), "memory.stat": stat}
    group(machine / "cgroup/slurm/job_1", {"memory.max": str(20 * GB), **used})
    group(machine / "cgroup/slurm/job_1/step_0", {"memory.max": "max", **used})
    assert free_host_memory() == 16 * GB  # what caches files counts as free


def test_a_limit_of_version_1_counts_on_every_level(machine):
    words = "9:cpu:/\n4:memory:/slurm/uid_0/job_1/step_0\n0::/\n"
    (machine / "groups").write_text(words)
    stat = f"active_file 0\ntotal_active_file {GB}\ntotal_inactive_file {GB}"
    used = {"memory.usage_in_bytes": str(5 * GB), "memory.stat": stat}
    folder = machine / "cgroup/memory/slurm/uid_0/job_1"
    group(folder, {"memory.limit_in_bytes": str(20 * GB), **used})
    group(folder / "step_0", {"memory.limit_in_bytes": NO_LIMIT, **used})
    assert free_host_memory() == 17 * GB


def test_a_container_that_sees_its_own_group_as_the_root_is_held_to_it(machine):
    (machine / "groups").write_text("0::/elsewhere/docker/abc\n")
    stat = "active_file 0\ninactive_file 0"
    files = {"memory.max": str(20 * GB), "memory.current": "0", "memory.stat": stat}
    group(machine / "cgroup", files)
    assert free_host_memory() == 20 * GB


def test_a_process_in_a_real_group_of_version_1_sees_its_limit(repository):
    own = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    paths = [path for _, controllers, path in own if controllers == "memory"]
    if not paths:
        pytest.skip("no memory controller of version 1 here")
    folder = Path("/sys/fs/cgroup/memory") / paths[0].strip("/") / f"hce-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("no control group can be made here")
    try:
        (folder / "memory.limit_in_bytes").write_text(str(GB))
        words = "from hce.batches.memory import free_host_memory as free; print(free())"
        enter = f"echo $$ >{folder}/cgroup.procs && exec {sys.executable} -c '{words}'"
        done = subprocess.run(
            ["sh", "-c", enter],
            env=os.environ | {"PYTHONPATH": str(repository / "scripts")},
            capture_output=True,
            text=True,
        )
    finally:
        folder.rmdir()
    assert 0.5 * GB < int(done.stdout) < GB, done.stderr
