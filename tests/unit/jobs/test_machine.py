"""A job takes its own cores, and writes what it compiles where it can."""

import os

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
