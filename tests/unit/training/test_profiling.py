"""The command that says where the time of a step goes."""

import re

import numpy as np
import pandas as pd
import pytest

from hce.store.cell_store import write_store
from hce.store.shards import write_shard
from hce.training import profiling


@pytest.fixture
def store(make_counts, tmp_path):
    ids = np.arange(300, dtype=np.int64)
    write_shard(tmp_path / "0.arrow", [(ids, make_counts(300, 50, seed=1))])
    cells = pd.DataFrame({"soma_joinid": ids, "label": ids % 3})
    genes = pd.DataFrame({"feature_id": [f"E{i}" for i in range(50)], "feature_name": "g"})
    write_store(tmp_path / "store", [tmp_path / "0.arrow"], cells, genes, {})
    return str(tmp_path / "store")


@pytest.mark.parametrize("residency", ["host", "disk"])
def test_the_parts_of_a_step_are_listed_and_add_up(store, residency, capsys):
    profiling.main(["--store", store, "--batch-size", "16", "--residency", residency])
    printed = capsys.readouterr().out
    assert f"linear, hce, tf32 on cpu, cells in: {residency}" in printed
    parts = re.findall(r"^(\w+) +([\d.]+) ms +([\d.]+)%$", printed, flags=re.MULTILINE)
    assert [part for part, _, _ in parts] == profiling.PARTS
    assert sum(float(share) for _, _, share in parts) == pytest.approx(100, abs=0.5)
    assert re.search(r"together +[\d.]+ ms +[\d,]+ cells/s", printed)


def test_the_table_counts_milliseconds_a_batch():
    seconds = dict.fromkeys(profiling.PARTS, 0.0) | {"forward": 0.3, "backward": 0.1}
    lines = profiling.table(cells=800, seconds=seconds, batch_size=200).splitlines()
    assert lines[1].split() == ["forward", "75.0", "ms", "75.0%"]
    assert lines[-1].split() == ["together", "100.0", "ms", "2,000", "cells/s"]


def test_a_store_that_is_too_small_to_time_is_refused(store, capsys):
    with pytest.raises(SystemExit):
        profiling.main(["--store", store, "--batch-size", "64"])
    assert "no more than 5 batches" in capsys.readouterr().err
