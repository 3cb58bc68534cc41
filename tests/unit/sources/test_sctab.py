"""The published scTab store, on a small one in its layout (simulated)."""

import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hce.batches.in_memory import Batches
from hce.errors import UserError
from hce.files import read_tsv
from hce.ontology import Hierarchy
from hce.sources import sctab
from hce.sources.sctab import identify_types, open_archive, read_cells, write_set
from hce.sources.sctab_comparison import compare, describe_types
from hce.sources.sctab_unpack import unpack
from hce.store.cell_store import CellStore
from hce.store.counts import Counts
from hce.store.encoding import decode_cells, encode_cells
from sctab_archive import (
    FOLDERS,
    GENES,
    N_GENES,
    ROWS_A_PART,
    TYPES,
    copy,
    dense,
    normalised,
    small_hierarchy,
    written,
)

__all__ = ["copy", "small_hierarchy", "written"]


def test_the_cells_are_those_of_the_archive_with_their_words_and_in_its_order(
    written, small_hierarchy
):
    archive = open_archive(written.folder)
    for name in FOLDERS:
        cells = read_cells(archive, name, small_hierarchy.labels)
        expected = written.obs[written.obs["set"] == name].reset_index(drop=True)
        found = cells.astype({c: str for c in cells.columns[2:]}).assign(
            label=[small_hierarchy.labels[i] for i in cells["label"]]
        )
        expected = expected.rename(
            columns={"cell_type": "label", "dataset_id": "study", "tech_sample": "donor"}
        )
        pd.testing.assert_frame_equal(found, expected[found.columns.tolist()])


def test_a_converted_set_holds_the_archives_values_to_the_bit(
    written, small_hierarchy, tmp_path, monkeypatch
):
    monkeypatch.setattr(sctab, "BATCH_CELLS", 16)
    monkeypatch.setattr("hce.store.shards.BATCH_CELLS", 16)
    archive = open_archive(written.folder)
    for name in FOLDERS:
        cells = read_cells(archive, name, small_hierarchy.labels)
        store = write_set(archive, name, cells, tmp_path / name, {"release": "r"}, threads=2)
        assert store.manifest["values"] == "log1p_cp10k"
        assert [s["cells"] for s in store.manifest["shards"]] == ROWS_A_PART[name]
        store.verify()
        counts = store.load()
        assert counts.values.dtype == np.float32
        assert (counts.values > 0).all()
        np.testing.assert_array_equal(dense(counts), normalised(written.counts[name]))
        pd.testing.assert_frame_equal(CellStore.open(tmp_path / name).cells(), cells)
        assert store.genes.equals(GENES)


def test_batches_do_not_normalise_twice(written, small_hierarchy, tmp_path):
    """The published values and the raw counts of the same cells make the same batches."""
    archive = open_archive(written.folder)
    cells = read_cells(archive, "train", small_hierarchy.labels)
    store = write_set(archive, "train", cells, tmp_path / "train", {})
    raw = written.counts["train"]
    counts = Counts(
        raw.indptr.astype(np.int64), raw.indices.astype(np.uint16), raw.data.astype(np.uint16)
    )
    labels = cells["label"].to_numpy()
    published = Batches(store.load(), labels, N_GENES, 50).shuffled(np.random.default_rng(0))
    normal = Batches(counts, labels, N_GENES, 50).shuffled(np.random.default_rng(0))
    for (x, y), (x_raw, y_raw) in zip(published, normal, strict=True):
        assert (y == y_raw).all()
        np.testing.assert_allclose(x.numpy(), x_raw.numpy(), rtol=1e-5)
        assert x.max() > 5


def test_normalised_values_survive_a_shard_whatever_their_number_of_levels():
    rng = np.random.default_rng(0)
    lengths = [0, 700, 1, 0, 300]
    indptr = np.cumsum([0, *lengths])
    genes = np.concatenate([np.sort(rng.choice(65536, n, replace=False)) for n in lengths])
    values = rng.random(sum(lengths)).astype(np.float32) * 9
    values[1::2] = 0.5
    counts = Counts(indptr, genes.astype(np.uint16), values)
    keys, found = decode_cells(encode_cells(np.arange(5), counts))
    assert (keys == np.arange(5)).all()
    for name in ("indptr", "genes", "values"):
        np.testing.assert_array_equal(getattr(found, name), getattr(counts, name))
    assert found.values.dtype == np.float32


def comparison(folder: Path, hierarchy: Hierarchy, repository: Path, **changed) -> pd.DataFrame:
    archive = open_archive(folder)
    cells = pd.concat([read_cells(archive, name, hierarchy.labels) for name in FOLDERS])
    types = describe_types(archive, hierarchy, cells)
    published = read_tsv(repository / "resources" / "published.tsv")
    arguments = {"known": list(TYPES.values()), "gene_names": GENES["feature_name"].tolist()}
    return compare(archive, hierarchy, types, cells, published=published, **arguments | changed)


def test_an_archive_that_agrees_differs_only_in_its_size(written, small_hierarchy, repository):
    table = comparison(written.folder, small_hierarchy, repository)
    different = table[table["verdict"] == "different"]
    assert set(zip(different["quantity"], different["item"], strict=True)) == {
        *(("cells", name) for name in FOLDERS),
        *((quantity, "number") for quantity in ("genes", "donors", "studies", "tissues")),
    }
    row = table.set_index(["quantity", "item"]).loc[("cells", "val")]
    assert (row["archive"], row["expected"]) == (32, 3500032)


def test_every_difference_is_listed_by_name(copy, small_hierarchy, repository):
    labels = sorted(TYPES.values())
    matrix = np.load(copy / "cell_type_hierarchy/child_matrix.npy")
    matrix[labels.index("B cell"), labels.index("monocyte")] = 1
    np.save(copy / "cell_type_hierarchy/child_matrix.npy", matrix)
    weights = np.load(copy / "class_weights.npy")
    weights[labels.index("T cell")] *= 100
    np.save(copy / "class_weights.npy", weights)
    table = comparison(
        copy,
        small_hierarchy,
        repository,
        known=["T cell", "B cell", "monocyte", "neuron"],
        gene_names=GENES["feature_name"].tolist()[1:],
    )
    wrong = table[table["verdict"] == "different"].set_index(["quantity", "item"])
    for row in (
        ("types", "neuron"),
        ("types", "CD4-positive, alpha-beta T cell"),
        ("genes", "GENE0"),
        ("reachability", "pairs"),
        ("reachability", "B cell > monocyte"),
        ("class weights", "T cell"),
    ):
        assert row in wrong.index
    assert ("reachability", "T cell > CD4-positive, alpha-beta T cell") not in wrong.index
    assert ("class weights", "B cell") not in wrong.index


def test_weights_of_the_cells_before_the_cut_are_no_difference(copy, small_hierarchy, repository):
    """The cut takes fewer than 1,024 cells; that much may be missing from the archive."""
    labels = sorted(TYPES.values())
    sizes = np.full(4, 28) + np.array([500, 0, 20, 0])
    np.save(copy / "class_weights.npy", sizes.sum() / (4 * sizes))
    table = comparison(copy, small_hierarchy, repository).set_index(["quantity", "item"])
    assert table.loc[("class weights", "types whose weights differ"), "verdict"] == "equal"
    assert labels[0] == "B cell"


def test_types_take_the_archives_weights(written, small_hierarchy):
    archive = open_archive(written.folder)
    cells = pd.concat([read_cells(archive, name, small_hierarchy.labels) for name in FOLDERS])
    types = describe_types(archive, small_hierarchy, cells)
    assert types["class_weight"].tolist() == np.load(written.folder / "class_weights.npy").tolist()
    train = written.obs[written.obs["set"] == "train"]
    assert types["train_cells"].tolist() == [
        (train["cell_type"] == label).sum() for label in types["label"]
    ]
    assert types["donors"].tolist() == [
        written.obs.loc[written.obs["cell_type"] == label, "tech_sample"].nunique()
        for label in types["label"]
    ]


def test_types_are_identified_by_the_published_table_first(slim):
    found = identify_types(["T cell", "odd name"], {"odd name": "CL:0000236"}, slim)
    assert found == {"CL:0000084": "T cell", "CL:0000236": "odd name"}
    with pytest.raises(UserError, match="type 'no such cell', which is neither"):
        identify_types(["no such cell"], {}, slim)


@pytest.mark.parametrize("top", ["", "deep/er/"])
def test_an_archive_is_unpacked_from_any_depth(written, tmp_path, top):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(written.folder, arcname=f"{top}store")
    unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert open_archive(tmp_path / "out").types == sorted(TYPES.values())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar.gz", "out"]
