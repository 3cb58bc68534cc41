"""Files that jobs hand on are held to the checksums that were recorded when they were written."""

import google_crc32c
import numpy as np
import pytest

from fake_job import fake_job
from faults import many_flips, truncate
from hce import checksums
from hce.errors import UserError
from hce.jobs.job import job


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("a\tb\n1\t2\n")
    checksums.record(path)
    return path


def test_it_is_the_checksum_that_its_standard_defines():
    assert checksums.crc32c(b"123456789") == "e3069283"  # the check value of CRC-32C
    assert google_crc32c.implementation == "c"  # the one in Python takes a thousand times as long


@pytest.mark.parametrize("content", [b"", b"x", bytes(1000)])
def test_a_file_has_the_checksum_of_its_content(tmp_path, content):
    (tmp_path / "f").write_bytes(content)
    assert checksums.crc32c_of(tmp_path / "f") == checksums.crc32c(content)


def test_a_changed_bit_anywhere_is_refused_with_the_file_and_the_cure(table):
    checksums.verify(table)
    for _ in many_flips(table):
        with pytest.raises(UserError, match=rf"{table} is not as it was .*: delete {table} and"):
            checksums.verify(table)
    checksums.verify(table)


def test_a_file_that_was_cut_off_is_refused(table):
    truncate(table, np.random.default_rng(0))
    with pytest.raises(UserError, match="not as it was written"):
        checksums.verify(table)


def test_a_changed_record_is_refused_and_a_file_without_one_passes(table):
    kept = checksums.record_of(table)
    kept.write_bytes(b"\xff0000000\n")
    with pytest.raises(UserError, match=r"\.table\.tsv\.crc32c"):
        checksums.verify(table)
    checksums.forget(table)
    checksums.forget(table)
    checksums.verify(table)


def test_a_file_is_read_for_it_once_a_process_until_it_changes(table, monkeypatch):
    read = []
    real = checksums.crc32c_of
    monkeypatch.setattr(checksums, "crc32c_of", lambda path: read.append(path) or real(path))
    for _ in range(3):
        checksums.verify(table)
    assert read == [table]
    table.write_text("other")
    with pytest.raises(UserError):
        checksums.verify(table)


class TestJobs:
    def run(self, tmp_path, given=(), made=(), content="x"):
        """A job that writes its outputs."""
        parts = {"input": [str(path) for path in given], "output": [str(path) for path in made]}
        with job(fake_job("make", tmp_path / "log", **parts)):
            for path in made:
                path.write_text(content)

    def test_what_one_job_wrote_another_verifies(self, tmp_path, capsys):
        path = tmp_path / "a.tsv"
        self.run(tmp_path, made=[path])
        self.run(tmp_path, given=[path])
        path.write_text("y")
        with pytest.raises(SystemExit):
            self.run(tmp_path, given=[path], made=[tmp_path / "b.tsv"])
        assert f"Error in make: {path} is not as it was written" in capsys.readouterr().err
        assert not (tmp_path / "b.tsv").exists()

    def test_a_file_that_is_made_anew_gets_a_new_record(self, tmp_path):
        path = tmp_path / "a.tsv"
        for content in ("x", "y"):
            self.run(tmp_path, made=[path], content=content)
            self.run(tmp_path, given=[path])

    def test_a_job_that_fails_leaves_no_record(self, tmp_path):
        path = tmp_path / "a.tsv"
        self.run(tmp_path, made=[path])
        failing = fake_job("x", tmp_path / "log", output=[str(path)])
        with pytest.raises(SystemExit), job(failing):
            raise UserError("no.")
        assert not checksums.record_of(path).exists()

    def test_folders_have_none_and_records_no_records(self, tmp_path):
        (tmp_path / "folder").mkdir()
        kept = tmp_path / ".a.arrow.crc32c"
        kept.touch()
        outputs = [str(tmp_path / "folder"), str(kept)]
        with job(fake_job("x", tmp_path / "log", output=outputs)):
            pass
        assert {path.name for path in tmp_path.iterdir()} == {"folder", kept.name, "log"}
