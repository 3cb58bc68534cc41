"""Data made apart from the run, and data that somebody else has made."""

import os
import re
import shutil
import time

import pytest

pytestmark = pytest.mark.workflow

NETWORK = {"read_release", "export_counts", "audit_leakage"}


@pytest.fixture(scope="module")
def theirs(finished):
    """Config of a run that takes the data of another folder."""
    return {"data": {"dir": str(finished.folder / "resources/atlas"), "ready": True}}


def test_after_make_data_no_job_is_left_that_may_need_a_network(finished, tmp_path):
    place = finished.copy(tmp_path / "place")
    shutil.rmtree(place.folder / "results")
    assert "Nothing to be done" in place.snakemake("--dry-run", "data").stdout
    planned = place.planned({})
    assert planned["fit"]
    assert not NETWORK & set(planned)


def test_make_data_makes_all_that_a_run_reads_of_its_data(new_workplace, repository):
    text = "".join(path.read_text() for path in (repository / "workflow/rules").glob("*.smk"))
    outputs = re.findall(r"rule (\w+):\n.*?output:(.*?)\n\s+log:", text, re.S)
    of_data = {rule for rule, output in outputs if "<data>" in output}
    assert {"build_store", "relate_vocabularies", "relate_terms"} <= of_data
    place = new_workplace()
    later = set(place.planned({})) - set(place.planned({}, "data"))
    assert "fit" in later
    assert later & of_data == {"finish_data"}  # which says so in the end


def test_finished_data_of_others_are_not_built_again_whatever_their_times(
    finished, new_workplace, theirs
):
    planned = new_workplace().planned(theirs)
    assert planned["fit"]
    assert not NETWORK & set(planned)
    assert not {"build_store", "select_types", "make_augmentation", "finish_data"} & set(planned)


def test_data_that_are_touched_train_nothing_again(finished, tmp_path):
    place = finished.copy(tmp_path / "place")
    later = time.time() + 100
    for path in (place.folder / "resources/atlas/demo").rglob("*"):
        os.utime(path, (later, later))
    assert "fit" not in place.planned({"data": {"ready": True}})


def test_data_of_other_settings_are_refused_before_anything_runs(new_workplace, theirs):
    done = new_workplace().snakemake("--dry-run", config=theirs | {"split": {"seed": 7}})
    assert done.returncode != 0
    assert "was made with another split" in done.stdout + done.stderr
