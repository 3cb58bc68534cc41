"""The command `hce store`: what a store holds, which shard is damaged, and its repair."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from hce import checksums
from hce.census.counts import CountsReader
from hce.census.release import open_release, positions_of_genes, read_genes
from hce.cli import main
from hce.sources.soma import HUMAN, Study, write_census
from hce.store import cell_store
from hce.store.cell_store import CellStore, write_store
from hce.store.shards import write_shard

N_GENES = 60
CELLS = 200
GENES = pd.DataFrame(
    {
        "feature_id": [f"ENSG{i:03d}" for i in range(N_GENES)],
        "feature_name": [f"GENE{i}" for i in range(N_GENES)],
        "feature_length": 1000,
    }
)


def census(path, seed: int = 0):
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame(
        {
            "cell_type": "T cell",
            "cell_type_ontology_term_id": "CL:0000084",
            "donor_id": [f"d{i % 3}" for i in range(CELLS)],
        }
    )
    counts = sp.csr_matrix(rng.poisson(0.4, (CELLS, N_GENES)).astype(np.float32))
    study = Study("a", "A", "c", "Collection", "", obs, counts)
    write_census(path, "2023-05-15", [study], {HUMAN: GENES})
    return path


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store of 150 cells in three shards, from a local release, with genes in another order."""
    monkeypatch.setattr(cell_store, "SHARD_CELLS", 64)
    monkeypatch.setattr("hce.store.shards.BATCH_CELLS", 16)
    genes = GENES.iloc[::-1].iloc[5:].reset_index(drop=True)[["feature_id", "feature_name"]]
    ids = np.random.default_rng(1).permutation(CELLS)[:150]
    with open_release("2023-05-15", str(census(tmp_path / "soma"))) as release:
        reader = CountsReader(release, positions_of_genes(genes, read_genes(release), "r", 0))
        write_shard(tmp_path / "0.arrow", reader.blocks(np.arange(CELLS)))
        uri = release.uri
    cells = pd.DataFrame(
        {
            "soma_joinid": ids.astype(np.int64),
            "label": (np.arange(150) % 2).astype(np.int16),
            "study": pd.Categorical(["s1"] * 100 + ["s2"] * 50),
        }
    )
    provenance = {"release": "2023-05-15", "set": "train", "uri": uri, "built": "by a test"}
    folder = tmp_path / "data/store/train"
    folder.parent.mkdir(parents=True)
    return write_store(folder, [tmp_path / "0.arrow"], cells, genes, provenance)


def corrupt(store: CellStore, number: int):
    path = store.path / store.manifest["shards"][number]["file"]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path


def test_what_a_store_holds_is_printed(store, capsys):
    types = store.path.parent.parent / "ontology/hierarchy.parquet"
    types.parent.mkdir()
    pd.DataFrame({"label": ["B cell", "T cell"]}).to_parquet(types)
    assert main(["store", str(store.path)]) == 0
    lines = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    found = {key: value.strip() for key, value in lines.items()}
    assert (found["cells"], found["genes"], found["shards"]) == ("150", "55", "3")
    assert (found["values"], found["release"], found["set"]) == ("counts", "2023-05-15", "train")
    size = sum(path.stat().st_size for path in store.path.glob("*.arrow"))
    assert found["size"].endswith(f"{size / 150:.0f} bytes a cell")
    assert found["types"] == "2; most cells: B cell 75, T cell 75"
    assert found["studies"] == "2; most cells: s1 100, s2 50"
    assert found["built"] == "by a test"


def test_verify_is_quiet_about_a_whole_store(store, capsys):
    assert main(["store", str(store.path), "--verify"]) == 0
    assert capsys.readouterr().out == "3 of 3 shards are as they were written.\n"


def test_verify_names_each_damaged_and_missing_shard_and_the_cure(store, capsys):
    corrupt(store, 0)
    (store.path / "shard-00002.arrow").unlink()
    assert main(["store", str(store.path), "--verify"]) == 1
    output = capsys.readouterr().out
    assert "shard-00000.arrow is missing or damaged" in output
    assert "shard-00001.arrow" not in output
    assert "shard-00002.arrow is missing or damaged" in output
    assert "1 of 3 shards" in output
    assert "--repair" in output


def test_repair_rebuilds_the_damaged_shards_to_the_byte_and_touches_no_other(store, capsys):
    files = sorted(store.path.glob("*"))
    before = {path: path.read_bytes() for path in files}
    damaged = corrupt(store, 1)
    times = {path: path.stat().st_mtime_ns for path in files if path != damaged}
    assert main(["store", str(store.path), "--repair"]) == 0
    assert "shard-00001.arrow is rebuilt" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in sorted(store.path.glob("*"))} == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    store.verify()


def test_repair_from_a_release_that_moved(store, tmp_path):
    (tmp_path / "soma").rename(tmp_path / "moved")
    damaged = corrupt(store, 2)
    assert main(["store", str(store.path), "--repair"]) == 1
    assert damaged.is_file()
    assert main(["store", str(store.path), "--repair", "--uri", str(tmp_path / "moved")]) == 0
    store.verify()


def test_other_counts_than_then_are_refused_and_nothing_is_replaced(store, tmp_path, capsys):
    damaged = corrupt(store, 0)
    before = damaged.read_bytes()
    other = census(tmp_path / "other", seed=9)
    assert main(["store", str(store.path), "--repair", "--uri", str(other)]) == 1
    error = capsys.readouterr().err
    assert "gives other counts" in error
    assert "shard-00000.arrow" in error
    assert damaged.read_bytes() == before
    assert not list(store.path.glob("*partial*"))


def test_a_store_that_does_not_say_where_it_came_from_cannot_be_repaired(store, capsys):
    manifest = store.path / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"provenance": {}}))
    checksums.record(manifest)
    corrupt(store, 0)
    assert main(["store", str(store.path), "--repair"]) == 1
    assert "does not say which Census release" in capsys.readouterr().err


def test_a_folder_that_is_no_store_is_one_sentence(tmp_path, capsys):
    assert main(["store", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"hce: {tmp_path} is no complete cell store")


def test_misuse_is_status_2(capsys):
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "COMMAND" in capsys.readouterr().err
