"""A job takes its own cores, and writes what it compiles where it can."""

import os
import platform
import subprocess
import sys

import pyarrow as pa
import pytest

from hce.jobs import machine
from hce.jobs.machine import cache_folders, own_cores, take_cores


@pytest.fixture(autouse=True)
def unchanged(monkeypatch):
    monkeypatch.delenv(machine.CORES_VARIABLE, raising=False)
    for name in ("NUMBA_CACHE_DIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    counts = pa.cpu_count(), pa.io_thread_count()
    yield
    pa.set_cpu_count(counts[0])
    pa.set_io_thread_count(counts[1])


def test_a_job_takes_its_cores_and_not_those_of_the_machine(monkeypatch):
    assert own_cores() == len(os.sched_getaffinity(0))
    monkeypatch.setenv(machine.CORES_VARIABLE, "7")  # taken back afterwards
    take_cores(3)
    assert own_cores() == 3
    assert pa.cpu_count() == 3


def test_tiledb_takes_the_cores_of_the_job(monkeypatch):
    from hce.census.release import _threads

    monkeypatch.setenv(machine.CORES_VARIABLE, "1")
    assert _threads(own_cores())["sm.compute_concurrency_level"] == "1"


TAKE_AND_FREE = """
import resource, sys
from hce.jobs.machine import reuse_memory
if sys.argv[1] == "reuse":
    reuse_memory()
for _ in range(10):
    blocks = [bytearray(30 * 2**20) for _ in range(3)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are left alone")
def test_freed_memory_is_used_again():
    def pages(how):
        command = [sys.executable, "-c", TAKE_AND_FREE, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert pages("plain") - pages("reuse") > 5 * 90 * 2**20 / os.sysconf("SC_PAGE_SIZE")


def test_caches_move_only_where_they_could_not_be_written(tmp_path, monkeypatch):
    """The system's answer is replaced here: root may write everywhere."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folders(tmp_path / "library", tmp_path / "caches") != {}  # there is none
    (tmp_path / "library").mkdir()
    assert cache_folders(tmp_path / "library", tmp_path / "caches") == {}
    monkeypatch.setattr(machine.os, "access", lambda path, mode: False)
    assert cache_folders(tmp_path / "library", tmp_path / "caches") == {
        "NUMBA_CACHE_DIR": str(tmp_path / "caches/numba"),
        "TRITON_CACHE_DIR": str(tmp_path / "caches/triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "caches/torchinductor"),
    }
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/mine")
    assert "NUMBA_CACHE_DIR" not in cache_folders(tmp_path / "library", tmp_path / "caches")
