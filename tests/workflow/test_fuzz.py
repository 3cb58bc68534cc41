"""A few trials of the fuzz script (`make fuzz` does a thousand)."""

import re
import subprocess
import sys

import numpy as np
import pytest

from faults import FAULTS
from fuzz import HARMLESS, KINDS, REFUSED, outcome


@pytest.mark.workflow
@pytest.mark.timeout(600)
def test_damaged_files_of_a_finished_run_are_refused_or_change_nothing(
    finished, repository, tmp_path, record_property
):
    place = finished.copy(tmp_path / "place").folder
    script = repository / "tests/fuzz.py"
    command = [sys.executable, str(script), "--run", str(place), "--trials", "20", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^(.*\S) +(\d+) +(\d+) +(\d+)$", done.stdout, re.M)
    assert {kind for kind, *_ in rows} <= set(KINDS)
    assert len(rows) >= 15
    assert sum(int(refused) for _, refused, _, _ in rows) >= 15
    record_property("measured", done.stdout.splitlines()[-1])


def test_every_fault_changes_a_file(tmp_path):
    rng = np.random.default_rng(0)
    one, other = tmp_path / "one", tmp_path / "other"
    for fault in FAULTS.values():
        one.write_bytes(b"some content")
        other.write_bytes(b"other content")
        fault(one, rng, [other])
        assert one.read_bytes() != b"some content"


@pytest.mark.parametrize(
    ("status", "said", "changed", "expected"),
    [
        (0, "", set(), HARMLESS),
        (1, "Error in fit: no.", set(), REFUSED),
        (0, "", {"a.tsv"}, "silent change of a.tsv"),
        (1, "Traceback (most recent call last)", set(), "traceback"),
        (1, "The job failed.", set(), "traceback"),
        (-11, "", set(), "killed by signal 11"),
    ],
)
def test_what_a_fault_led_to_is_called_by_its_name(status, said, changed, expected):
    assert outcome(status, said, changed) == expected
