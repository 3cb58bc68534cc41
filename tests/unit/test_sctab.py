"""The published scTab store, on a small one that is written here in its layout (simulated)."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scanpy
import scipy.sparse as sp
import yaml

from hce import store as store_module
from hce.counts import Counts
from hce.errors import UserError
from hce.files import read_tsv
from hce.loader import Batches
from hce.ontology import Hierarchy
from hce.sources import sctab
from hce.sources.sctab import identify_types, open_archive, read_cells, write_set
from hce.sources.sctab_comparison import compare, describe_types
from hce.sources.sctab_unpack import unpack
from hce.sources.soma import Study, write_census
from hce.store import CellStore, decode, encode

REFERENCE, NEW = "2023-05-15", "2023-12-15"
N_GENES = 40
GENES = pd.DataFrame(
    {
        "feature_id": [f"ENSG{i:05d}" for i in range(N_GENES)],
        "feature_name": [f"GENE{i}" for i in range(N_GENES)],
    }
)
TYPES = {
    "CL:0000084": "T cell",
    "CL:0000236": "B cell",
    "CL:0000624": "CD4-positive, alpha-beta T cell",
    "CL:0000576": "monocyte",
}
FOLDERS = {"train": "train", "val": "val", "id": "test"}
ROWS_A_PART = {"train": [48, 32, 32], "val": [32], "id": [32, 16]}
CATEGORIES = [
    *("dataset_id", "donor_id", "assay", "cell_type", "development_stage", "disease"),
    *("tissue", "tissue_general", "tech_sample"),
]


def simulated_cells(n: int, seed: int, study: str) -> tuple[pd.DataFrame, sp.csr_matrix]:
    """Cells with the columns that a release has, and their raw counts."""
    rng = np.random.default_rng(seed)
    types = np.array(list(TYPES))[np.arange(n) % len(TYPES)]
    obs = pd.DataFrame(
        {
            "dataset_id": study,
            "donor_id": [f"d{i % 5}" for i in range(n)],
            "assay": "10x 3' v3",
            "cell_type_ontology_term_id": types,
            "cell_type": [TYPES[t] for t in types],
            "development_stage": "adult",
            "disease": rng.choice(["normal", "asthma"], n),
            "tissue": rng.choice(["blood", "lung lobe"], n),
            "tissue_general": rng.choice(["blood", "lung"], n),
        }
    )
    counts = sp.random(n, N_GENES, 0.4, format="csr", rng=rng).astype(np.float32)
    counts.data = rng.integers(1, 50, counts.nnz).astype(np.float32)
    counts[3] = 0  # a cell without counts
    counts.eliminate_zeros()
    return obs, counts.tocsr()


def normalised(counts: sp.csr_matrix) -> np.ndarray:
    """log1p of counts per 10,000, by scanpy."""
    data = anndata.AnnData(counts.copy())
    scanpy.pp.normalize_total(data, target_sum=1e4)
    scanpy.pp.log1p(data)
    return data.X.toarray().astype(np.float32)


class Written:
    """A small store in the published layout, with what it was made of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        sizes = {name: sum(rows) for name, rows in ROWS_A_PART.items()}
        parts = [
            simulated_cells(size, seed, f"s{seed}") for seed, size in enumerate(sizes.values())
        ]
        obs = pd.concat([obs for obs, _ in parts], ignore_index=True)
        obs["tech_sample"] = obs["dataset_id"] + "_" + obs["donor_id"]
        obs["soma_joinid"] = np.random.default_rng(9).permutation(len(obs)) + 1000
        obs["set"] = np.repeat(list(sizes), list(sizes.values()))
        self.obs = obs
        self.counts = {name: counts for name, (_, counts) in zip(sizes, parts, strict=True)}
        (folder / "categorical_lookup").mkdir(parents=True)
        (folder / "cell_type_hierarchy").mkdir()
        GENES.to_parquet(folder / "var.parquet")
        codes = {}
        for column in CATEGORIES:
            values = obs[column].astype("category")
            codes[column] = values.cat.codes.astype("i8")
            lookup = pd.DataFrame({"label": list(values.cat.categories)})
            lookup.to_parquet(folder / "categorical_lookup" / f"{column}.parquet")
        for name, rows in ROWS_A_PART.items():
            (folder / FOLDERS[name]).mkdir()
            (folder / FOLDERS[name] / "_metadata").write_bytes(b"")
            chosen, start = np.flatnonzero(obs["set"] == name), 0
            for number, size in enumerate(rows):
                self.write_part(name, number, chosen[start : start + size], start, codes)
                start += size
        labels = sorted(TYPES.values())
        train = obs.loc[obs["set"] == "train", "cell_type"].value_counts()[labels]
        np.save(folder / "class_weights.npy", (train.sum() / (len(TYPES) * train)).to_numpy())
        matrix = np.eye(len(labels))
        matrix[labels.index("T cell"), labels.index("CD4-positive, alpha-beta T cell")] = 1.0
        np.save(folder / "cell_type_hierarchy" / "child_matrix.npy", matrix)
        np.save(folder / "augmentations.npy", np.ones((6, N_GENES), np.float32))

    def write_part(self, name, number, rows, start, codes) -> None:
        counts = self.counts[name][start : start + len(rows)]
        columns = {
            "X": pa.array(list(normalised(counts)), pa.list_(pa.float32())),
            "soma_joinid": self.obs["soma_joinid"].to_numpy()[rows],
            "is_primary_data": np.ones(len(rows), bool),
            **{column: codes[column].to_numpy()[rows] for column in CATEGORIES},
            "idx": np.arange(start, start + len(rows)),
        }
        path = self.folder / FOLDERS[name] / f"part.{number}.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=16)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Written:
    return Written(tmp_path_factory.mktemp("sctab") / "merlin_sf-log1p")


@pytest.fixture
def copy(written, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(written.folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def small_hierarchy(slim) -> Hierarchy:
    return Hierarchy.build(TYPES, slim)


def dense(counts: Counts) -> np.ndarray:
    matrix = sp.csr_matrix((counts.values, counts.genes, counts.indptr), (len(counts), N_GENES))
    return matrix.toarray()


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
    monkeypatch.setattr(store_module, "BATCH_CELLS", 16)
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
    keys, found = decode(encode(np.arange(5), counts))
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


class TestBadInput:
    """One sentence that names the file."""

    @pytest.mark.parametrize("keep", [0.5, 0])
    def test_an_archive_that_is_cut_off(self, written, tmp_path, keep):
        file = tmp_path / "a.tar.gz"
        with tarfile.open(file, "w:gz") as tar:
            tar.add(written.folder, arcname="store")
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * keep)])
        with pytest.raises(UserError, match=r"a\.tar\.gz .*cannot be unpacked"):
            unpack(file, tmp_path / "out")
        assert [p.name for p in tmp_path.iterdir()] == ["a.tar.gz"]

    def test_an_archive_with_a_file_for_elsewhere(self, written, tmp_path):
        (tmp_path / "x").write_text("x")
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
            tar.add(written.folder, arcname="store")
            tar.add(tmp_path / "x", arcname="../../outside")
        (tmp_path / "deep").mkdir()
        with pytest.raises(UserError, match=r"outside would lie outside of the folder"):
            unpack(tmp_path / "a.tar.gz", tmp_path / "deep/out")
        assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.tar.gz", "deep", "x"]

    def test_an_archive_of_something_else(self, tmp_path):
        (tmp_path / "x").write_text("x")
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
            tar.add(tmp_path / "x", arcname="x")
        with pytest.raises(UserError, match=r"holds no scTab store"):
            unpack(tmp_path / "a.tar.gz", tmp_path / "out")

    @pytest.mark.parametrize(
        "name",
        [
            "var.parquet",
            "class_weights.npy",
            "cell_type_hierarchy/child_matrix.npy",
            "categorical_lookup/tech_sample.parquet",
        ],
    )
    def test_a_missing_and_a_damaged_file(self, copy, name):
        (copy / name).write_bytes(b"nonsense")
        with pytest.raises(UserError, match=rf"no usable \S*{re.escape(name)}"):
            open_archive(copy)
        (copy / name).unlink()
        with pytest.raises(UserError, match=rf"no usable \S*{re.escape(name)}"):
            open_archive(copy)

    def test_a_missing_folder(self, copy, small_hierarchy):
        shutil.rmtree(copy / "val")
        with pytest.raises(UserError, match=r"has no Parquet files in \S*/val: unpack it again"):
            read_cells(open_archive(copy), "val", small_hierarchy.labels)

    def test_another_number_of_types(self, copy):
        np.save(copy / "class_weights.npy", np.ones(5))
        with pytest.raises(UserError, match=r"class_weights\.npy has the shape \(5,\).*4 types"):
            open_archive(copy)

    def test_a_code_without_a_label(self, copy, small_hierarchy):
        lookup = copy / "categorical_lookup/cell_type.parquet"
        pd.read_parquet(lookup).iloc[:3].to_parquet(lookup)
        np.save(copy / "class_weights.npy", np.ones(3))
        np.save(copy / "cell_type_hierarchy/child_matrix.npy", np.eye(3))
        with pytest.raises(UserError, match=r"part\.0\.parquet has the code 3 in cell_type"):
            read_cells(open_archive(copy), "train", small_hierarchy.labels)

    def test_augmentations_of_other_genes(self, copy):
        np.save(copy / "augmentations.npy", np.ones((6, 3)))
        with pytest.raises(
            UserError, match=r"augmentations\.npy has the shape \(6, 3\).* 40 genes"
        ):
            open_archive(copy).augmentations()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda x: np.where(x > 0, 37.0, x), r"holds 37\.0 for cell \d+.* between 0 and 9\.21"),
            (lambda x: np.where(x > 0, -x, x), r"holds -"),
            (lambda x: np.where(x > 0, np.nan, x), r"holds nan for cell"),
            (lambda x: np.where(x > 0, 1.0, x), r"are no log1p of counts per 10,000 \(they add up"),
            (lambda x: x[:, :-1], r"a cell with 39 values in X, but var\.parquet has 40 genes"),
        ],
    )
    def test_values_that_are_no_normalised_expression(
        self, copy, small_hierarchy, tmp_path, change, message
    ):
        path = copy / "train/part.1.parquet"
        table = pq.read_table(path)
        x = np.stack(table["X"].to_pylist()).astype(np.float32)
        column = pa.array(list(change(x).astype(np.float32)), pa.list_(pa.float32()))
        pq.write_table(table.set_column(0, "X", column), path)
        archive = open_archive(copy)
        cells = read_cells(archive, "train", small_hierarchy.labels)
        with pytest.raises(UserError, match=r"part\.1\.parquet.*" + message):
            write_set(archive, "train", cells, tmp_path / "store", {})
        assert not (tmp_path / "store").exists()

    def test_another_type_of_values(self, copy, small_hierarchy, tmp_path):
        path = copy / "val/part.0.parquet"
        table = pq.read_table(path)
        pq.write_table(table.set_column(0, "X", table["X"].cast(pa.list_(pa.float64()))), path)
        archive = open_archive(copy)
        cells = read_cells(archive, "val", small_hierarchy.labels)
        with pytest.raises(
            UserError, match=r"part\.0\.parquet has no column X of type list<float32>"
        ):
            write_set(archive, "val", cells, tmp_path / "store", {})

    def test_a_file_that_went_away_since(self, copy, small_hierarchy, tmp_path):
        archive = open_archive(copy)
        cells = read_cells(archive, "train", small_hierarchy.labels)
        (copy / "train/part.2.parquet").unlink()
        with pytest.raises(UserError, match=r"train holds 80 cells, but 112 were listed before"):
            write_set(archive, "train", cells, tmp_path / "store", {})


@pytest.fixture(scope="module")
def workplace(repository, written, tmp_path_factory):
    """The pipeline on the archive and on two small local releases."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("Snakefile", "workflow", "scripts", "config"):
        (folder / name).symlink_to(repository / name)
    (folder / "resources").mkdir()
    for name in ("ontology", "published.tsv"):
        (folder / "resources" / name).symlink_to(repository / "resources" / name)
    (folder / "lists").mkdir()
    (folder / "lists/genes.txt").write_text("\n".join(GENES["feature_name"]))
    with tarfile.open(folder / "archive.tar.gz", "w:gz") as tar:
        tar.add(written.folder, arcname="merlin_sf-log1p")
    studies = {}
    for seed, name in ((0, "s0"), (7, "new")):
        obs, counts = simulated_cells(90, seed, name)
        # Features of a release are in no model's order, and some belong to no model.
        counts = sp.hstack([counts[:, ::-1], counts[:, :2]]).tocsr()
        studies[name] = Study(name, name, f"c-{name}", "Collection", "", obs, counts)
    extra = pd.DataFrame({"feature_id": ["X1", "X2"], "feature_name": ["other1", "other2"]})
    genes = pd.concat([GENES[::-1], extra], ignore_index=True).assign(feature_length=0)
    for release, names in ((REFERENCE, ["s0"]), (NEW, ["s0", "new"])):
        chosen = [studies[name] for name in names]
        write_census(folder / "releases" / release, release, chosen, {"homo_sapiens": genes})
    config = {
        "run": "s",
        "data": {
            "name": "s",
            "source": "sctab",
            "sctab": {"archive": "archive.tar.gz"},
            "reference": {"release": REFERENCE, "uri": f"releases/{REFERENCE}"},
            "new": [{"release": NEW, "uri": f"releases/{NEW}"}],
            "genes": "lists/genes.txt",
            "genes_sha256": None,
        },
        "ontology": {"file": "resources/ontology/cl-slim.obo"},
        "export": {"shards": 1},
    }

    def run(*arguments, archive="archive.tar.gz"):
        config["data"]["sctab"]["archive"] = archive
        (folder / "s.yaml").write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "snakemake", *arguments, "--cores", "2"]
        return subprocess.run(
            [*command, "--configfile", "s.yaml"],
            cwd=folder,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )

    return folder, run


STORES = [f"resources/atlas/s/store/{name}" for name in ("train", "ood")]


def test_the_workflow_takes_the_reference_from_the_archive_and_new_studies_from_a_release(
    workplace, written
):
    folder, run = workplace
    done = run("--dry-run", "--quiet", "reason")
    assert done.returncode == 0, done.stdout + done.stderr
    rules = {line.split()[0] for line in done.stdout.splitlines() if len(line.split()) == 2}
    assert {"unpack_sctab", "read_sctab", "convert_sctab", "export_counts", "fit"} <= rules
    assert not {"select_types", "select_genes", "split_reference"} & rules

    done = run(*STORES, "resources/atlas/s/cells/report.tsv")
    assert done.returncode == 0, done.stderr[-3000:]
    data = folder / "resources/atlas/s"
    assert not (data / "sctab").exists()  # what was unpacked is not kept
    stores = {path.rsplit("/", 1)[1]: CellStore.open(folder / path) for path in STORES}
    kinds = {name: store.manifest["values"] for name, store in stores.items()}
    assert kinds == {"train": "log1p_cp10k", "ood": "counts"}
    assert all(store.genes.equals(GENES) for store in stores.values())
    assert str(folder) not in json.dumps(stores["train"].manifest)

    # The new study was simulated above: its batches are the normalisation of its counts.
    ood = stores["ood"]
    assert set(ood.cells()["study"]) == {"new"}
    labels = ood.cells()["label"].to_numpy()
    _, counts = simulated_cells(90, 7, "new")
    batches = Batches(ood.load(), labels, N_GENES, 90)
    expression, _ = next(batches.in_order())
    np.testing.assert_allclose(expression.numpy(), normalised(counts), rtol=1e-5)
    found = dense(stores["train"].load())
    np.testing.assert_array_equal(found, normalised(written.counts["train"]))

    np.testing.assert_array_equal(np.load(data / "augmentations.npy"), np.ones((6, N_GENES)))
    table = read_tsv(data / "cells/sctab.tsv").set_index(["quantity", "item"])
    assert table.loc[("reachability", "pairs"), "verdict"] == "equal"
    assert set(read_tsv(data / "ontology/terms.tsv")["status"]) == {"current"}

    # Once it has been read, the archive may be deleted.
    (folder / "archive.tar.gz").unlink()
    done = run("results/s/tables/data_totals.tsv", "--dry-run", "--quiet", "reason")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "describe_data" in done.stdout
    assert "sctab" not in re.findall(r"Job stats.*", done.stdout, re.S)[0]


def test_an_archive_that_does_not_exist_is_named(workplace):
    folder, run = workplace
    shutil.rmtree(folder / "resources/atlas", ignore_errors=True)
    done = run("--dry-run", archive="nowhere.tar.gz")
    assert done.returncode != 0
    assert "data.sctab.archive names nowhere.tar.gz, which does not exist" in done.stdout
