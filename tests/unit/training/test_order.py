"""Fits that are compared draw their cells in one order, that of the first of them."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from hce.errors import UserError
from hce.training.order import keep_order


def test_the_first_fit_decides_and_gpu_and_host_are_one_order(tmp_path):
    path = tmp_path / "fits" / "order.json"
    assert keep_order(path, "auto", "host") == "host"
    assert json.loads(path.read_text()) == {"order": "global"}
    assert keep_order(path, "auto", "gpu") == "gpu"
    assert [file.name for file in path.parent.iterdir()] == ["order.json"]


def test_a_fit_with_more_memory_than_the_first_streams_as_that_one_did(tmp_path):
    path = tmp_path / "order.json"
    keep_order(path, "auto", "disk")
    assert keep_order(path, "auto", "host") == "disk"
    with pytest.raises(UserError, match=r"set training\.residency to disk or auto, or give"):
        keep_order(path, "host", "host")


@pytest.mark.parametrize("asked", ["auto", "disk"])
def test_a_fit_with_less_memory_than_the_first_is_refused_and_not_mixed_in(tmp_path, asked):
    path = tmp_path / "order.json"
    keep_order(path, "auto", "gpu")
    with pytest.raises(UserError, match=r"within buffers.*could not be compared: ask for more mem"):
        keep_order(path, asked, "disk")


def test_of_fits_that_start_at_once_one_decides(tmp_path):
    path = tmp_path / "order.json"
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: keep_order(path, "auto", "disk"), range(40)))
    assert set(found) == {"disk"}


def test_a_fit_waits_for_the_order_that_another_is_writing(tmp_path, monkeypatch):
    path = tmp_path / "order.json"
    path.write_text("")
    monkeypatch.setattr("time.sleep", lambda seconds: path.write_text('{"order": "streamed"}'))
    assert keep_order(path, "auto", "host") == "disk"


def test_a_file_that_says_nothing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("hce.training.order.SECONDS", 0)
    (tmp_path / "order.json").write_text("")
    with pytest.raises(UserError, match=r"order\.json does not say .*delete it"):
        keep_order(tmp_path / "order.json", "auto", "host")
