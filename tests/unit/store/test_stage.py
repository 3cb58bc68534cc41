"""Stores that are streamed are first copied to a disk of the node, where they fit."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hce.errors import UserError
from hce.store.cell_store import write_store
from hce.store.shards import write_shard
from hce.store.stage import stage_stores


@pytest.fixture
def store(make_counts, tmp_path):
    ids = np.arange(100, dtype=np.int64)
    write_shard(tmp_path / "0.arrow", [(ids, make_counts(100, 50, seed=1))])
    cells = pd.DataFrame({"soma_joinid": ids, "label": 0})
    genes = pd.DataFrame({"feature_id": [f"E{i}" for i in range(50)], "feature_name": "g"})
    return write_store(tmp_path / "store", [tmp_path / "0.arrow"], cells, genes, {})


def test_the_copy_is_the_store_under_a_variable_of_the_job(store, tmp_path, monkeypatch):
    (tmp_path / "node").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "node"))
    copy = stage_stores({"train": store}, "$TMPDIR")["train"]
    assert copy.path.is_relative_to(tmp_path / "node")
    shutil.rmtree(store.path)
    copy.verify()
    assert len(copy.cells()) == 100


def test_the_copy_is_removed_when_the_process_ends(store, tmp_path, repository):
    (tmp_path / "node").mkdir()
    words = (
        "import sys; from hce.store.cell_store import CellStore\n"
        "from hce.store.stage import stage_stores\n"
        "print(stage_stores({'a': CellStore.open(sys.argv[1])}, sys.argv[2])['a'].path.exists())"
    )
    done = subprocess.run(
        [sys.executable, "-c", words, store.path, tmp_path / "node"],
        env=os.environ | {"PYTHONPATH": str(repository / "scripts")},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True\n"
    assert not list((tmp_path / "node").iterdir())


def test_stores_without_room_are_streamed_from_where_they_lie(store, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
    assert stage_stores({"train": store}, str(tmp_path)) == {"train": store}
    assert "has 0.0 GB free, and the stores take" in caplog.text


@pytest.mark.parametrize(
    ("folder", "words"),
    [("$NO_SUCH_VARIABLE", "is not set in the job"), ("/no/such/folder", "cannot be used")],
)
def test_a_folder_that_the_node_does_not_have_is_named(store, folder, words):
    with pytest.raises(UserError, match=words):
        stage_stores({"train": store}, folder)
