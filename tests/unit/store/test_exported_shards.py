"""A store is built of exported shards that are as they were written, or not at all."""

import numpy as np
import pandas as pd
import pytest

from hce import checksums
from hce.errors import UserError
from hce.store.cell_store import write_store
from hce.store.shards import write_shard

N_GENES = 40
GENES = pd.DataFrame(
    {
        "feature_id": [f"ENSG{i:03d}" for i in range(N_GENES)],
        "feature_name": [f"GENE{i}" for i in range(N_GENES)],
    }
)


@pytest.fixture
def shards(make_counts, tmp_path):
    paths = [tmp_path / f"{i}.arrow" for i in range(2)]
    for i, path in enumerate(paths):
        write_shard(path, [(np.arange(100) + 100 * i, make_counts(100, N_GENES, seed=i))])
        checksums.record(path)
    return paths


def build(shards, folder):
    cells = pd.DataFrame({"soma_joinid": np.arange(200)})
    return write_store(folder / "store", shards, cells, GENES, {})


def test_whole_shards_are_assembled(shards, tmp_path):
    assert len(build(shards, tmp_path)) == 200


def test_any_changed_byte_of_a_shard_is_found_and_the_shard_named(shards, tmp_path):
    content = shards[1].read_bytes()
    for place in np.random.default_rng(0).integers(0, len(content), 20):
        changed = bytearray(content)
        changed[place] ^= 1
        shards[1].write_bytes(changed)
        with pytest.raises(UserError, match=r"1\.arrow is damaged .* it alone"):
            build(shards, tmp_path)
        assert not (tmp_path / "store").exists()
    shards[1].write_bytes(content)
    assert len(build(shards, tmp_path)) == 200
