"""Runs in one folder keep each other's locks."""

import pytest
from snakemake.persistence.file import FilePersistence

from hce.jobs.locks import keep_locks_of_others


@pytest.fixture
def new_run(tmp_path, monkeypatch):
    """Makes what a Snakemake knows of the locks in a folder."""
    for name in ("unlock", "cleanup_locks"):
        monkeypatch.setattr(FilePersistence, name, getattr(FilePersistence, name))
    keep_locks_of_others()
    (tmp_path / "locks").mkdir()

    def make():
        run = object.__new__(FilePersistence)
        run._lockdir, run._lockfile = str(tmp_path / "locks"), {}
        return run

    return make


def test_a_run_that_ends_leaves_the_locks_of_another(new_run):
    one, other = new_run(), new_run()
    one._write_locks("output", ["results/one"])
    other._write_locks("output", ["results/other"])
    other.unlock()
    assert list(new_run()._read_locks()) == [("output", "results/one")]
    other._write_locks("output", ["results/other"])
    one.unlock()
    assert list(new_run()._read_locks()) == [("output", "results/other")]


def test_unlocking_on_request_removes_what_a_dead_run_left(new_run):
    new_run()._write_locks("output", ["results/dead"])
    new_run().cleanup_locks()
    assert list(new_run()._read_locks()) == []
