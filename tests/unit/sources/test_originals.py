"""Files of studies are made from look-alikes of their originals, fetched from a local server."""

import gzip
import io
import tarfile
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.io import mmwrite

from hce.download import download
from hce.errors import UserError
from hce.inputs.manifests import missing_studies, read_originals
from hce.ontology import read_ontology
from hce.sources.h5ad import read_manifest
from hce.sources.originals import SORTED_CELLS, build_original
from local_server import files_of, serving

RESOURCES = Path(__file__).parents[3] / "resources"
GENES = [(f"ENSG{i:011d}", f"GENE{i}") for i in range(30)]


def counts(cells: int, seed: int) -> sp.csr_matrix:
    return (5 * sp.random(cells, len(GENES), 0.4, "csr", random_state=seed)).ceil()


def archive(path: Path, matrix: sp.csr_matrix, barcodes: list[str], folder: str) -> None:
    """An archive of Cell Ranger 1: genes by cells, genes.tsv with ids and symbols."""
    buffer = io.BytesIO()
    mmwrite(buffer, matrix.T.astype(int))
    files = {
        "matrix.mtx": buffer.getvalue(),
        "genes.tsv": "".join(f"{a}\t{b}\n" for a, b in GENES).encode(),
        "barcodes.tsv": "".join(f"{name}\n" for name in barcodes).encode(),
        "notes.txt": b"not read",
    }
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}/hg19/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def served(tmp_path):
    """A folder, and the address at which a local server has it."""
    folder = tmp_path / "served"
    folder.mkdir()
    with serving(files_of(folder)) as address:
        yield folder, address


def fetch_and_build(study, served, parts, tmp_path) -> anndata.AnnData:
    """Downloads the parts (name → file of the server) and makes the study's file of them."""
    _, address = served
    files = {}
    for number, (part, name) in enumerate(parts.items()):
        files[part] = tmp_path / "originals" / study / str(number)
        files[part].parent.mkdir(parents=True, exist_ok=True)
        download(f"{address}/{name}", files[part], None)
    build_original(study, files, tmp_path / f"{study}.h5ad")
    return anndata.read_h5ad(tmp_path / f"{study}.h5ad")


def check_file(cells: anndata.AnnData) -> None:
    assert list(cells.var_names) == [name for name, _ in GENES]
    assert cells.var["feature_name"].tolist() == [symbol for _, symbol in GENES]
    assert cells.obs_names.is_unique
    assert {"author_cell_type", "donor_id"} <= set(cells.obs)


def test_sorted_libraries_give_labels_and_at_most_so_many_cells_each(served, tmp_path):
    folder, _ = served
    sizes = {"CD19+ B": SORTED_CELLS + 50, "CD4+/CD25 T Reg": 30}
    matrices = {}
    for seed, (label, size) in enumerate(sizes.items()):
        matrices[label] = counts(size, seed)
        barcodes = [f"ACGT{i}-1" for i in range(size)]
        archive(folder / f"{seed}.tar.gz", matrices[label], barcodes, "filtered_matrices_mex")
    parts = {label: f"{seed}.tar.gz" for seed, label in enumerate(sizes)}
    cells = fetch_and_build("zheng2017", served, parts, tmp_path)
    check_file(cells)
    assert cells.obs["author_cell_type"].value_counts().to_dict() == {
        "CD19+ B": SORTED_CELLS,
        "CD4+/CD25 T Reg": 30,
    }
    assert (cells.obs["donor_id"] == cells.obs["author_cell_type"]).all()
    for label, matrix in matrices.items():
        own = cells[cells.obs["author_cell_type"] == label]
        rows = [int(name.split("ACGT")[1].removesuffix("-1")) for name in own.obs_names]
        np.testing.assert_array_equal(own.X.toarray(), matrix[rows].toarray())


def test_counts_take_the_labels_of_their_barcodes_and_lose_the_others(served, tmp_path):
    folder, _ = served
    matrix, barcodes = counts(20, 3), [f"A{i}-1" for i in range(20)]
    archive(folder / "pbmc3k.tar.gz", matrix, barcodes, "filtered_gene_bc_matrices")
    kept = barcodes[15:3:-2]
    labels = [f"type {i % 3}" for i in range(len(kept))]
    obs = pd.DataFrame({"louvain": pd.Categorical(labels)}, index=kept)
    anndata.AnnData(np.ones((len(kept), 2), dtype=np.float32), obs).write_h5ad(folder / "l.h5ad")
    parts = {"counts": "pbmc3k.tar.gz", "labels": "l.h5ad"}
    cells = fetch_and_build("pbmc3k", served, parts, tmp_path)
    check_file(cells)
    assert dict(cells.obs["author_cell_type"]) == dict(zip(kept, labels, strict=True))
    rows = [barcodes.index(name) for name in cells.obs_names]
    np.testing.assert_array_equal(cells.X.toarray(), matrix[rows].toarray())


def geo(folder: Path, matrix: sp.csr_matrix, barcodes: list[str], cells: pd.DataFrame) -> dict:
    """Files as GSE96583 has them."""
    buffer = io.BytesIO()
    mmwrite(buffer, matrix.T.astype(int))
    contents = {
        "matrix": buffer.getvalue(),
        "barcodes": "".join(f"{name}\n" for name in barcodes).encode(),
        "genes": "".join(f"{a}\t{b}\n" for a, b in GENES).encode(),
        "cells": cells.to_csv(sep="\t").encode(),
    }
    for name, content in contents.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    return {name: f"{name}.gz" for name in contents}


def kang_cells(barcodes: list[str]) -> pd.DataFrame:
    """A row per cell: of both conditions, with doublets and a cell without a label."""
    n = len(barcodes)
    table = pd.DataFrame(
        {
            "tsne1": 0.5,
            "ind": [str(101 + i % 3) for i in range(n)],
            "stim": "ctrl",
            "cell": [f"type {i % 4}" for i in range(n)],
            "multiplets": "singlet",
        },
        index=barcodes,
    )
    table.iloc[2, table.columns.get_loc("multiplets")] = "doublet"
    table.iloc[5, table.columns.get_loc("cell")] = np.nan
    stimulated = table.iloc[:4].assign(stim="stim").set_axis([f"{b}1" for b in barcodes[:4]])
    return pd.concat([table, stimulated])


def test_of_geo_the_labelled_singlets_of_the_control_condition_are_kept(served, tmp_path):
    folder, _ = served
    matrix, barcodes = counts(25, 4), [f"G{i}-1" for i in range(25)]
    parts = geo(folder, matrix, barcodes, kang_cells(barcodes))
    cells = fetch_and_build("kang2018", served, parts, tmp_path)
    check_file(cells)
    rows = [i for i in range(25) if i not in (2, 5)]
    assert cells.obs_names.tolist() == [barcodes[i] for i in rows]
    assert cells.obs["author_cell_type"].tolist() == [f"type {i % 4}" for i in rows]
    assert cells.obs["donor_id"].tolist() == [f"patient {101 + i % 3}" for i in rows]
    np.testing.assert_array_equal(cells.X.toarray(), matrix[rows].toarray())


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ({"counts": b"<html>"}, "is not an archive of 10x Genomics .*: fetch it again"),
        ({"labels": b"<html>"}, "labels"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_and_leaves_no_file(damage, sentence, tmp_path):
    archive(tmp_path / "counts", counts(5, 0), list("abcde"), "x")
    obs = pd.DataFrame({"louvain": ["t"] * 5}, index=list("abcde"))
    anndata.AnnData(np.ones((5, 1), dtype=np.float32), obs).write_h5ad(tmp_path / "labels")
    for name, content in damage.items():
        (tmp_path / name).write_bytes(content)
    parts = {name: tmp_path / name for name in ("counts", "labels")}
    with pytest.raises(UserError, match=sentence):
        build_original("pbmc3k", parts, tmp_path / "x.h5ad")
    assert not (tmp_path / "x.h5ad").exists()


def test_originals_without_a_cell_in_common_are_refused(tmp_path):
    archive(tmp_path / "counts", counts(5, 0), list("abcde"), "x")
    obs = pd.DataFrame({"louvain": ["t"] * 2}, index=["y", "z"])
    anndata.AnnData(np.ones((2, 1), dtype=np.float32), obs).write_h5ad(tmp_path / "labels")
    parts = {name: tmp_path / name for name in ("counts", "labels")}
    with pytest.raises(UserError, match="originals of pbmc3k have no cell in common"):
        build_original("pbmc3k", parts, tmp_path / "x.h5ad")


def test_without_a_network_the_sentence_says_where_to_put_the_file(tmp_path):
    place = tmp_path / "originals" / "kang2018" / "0"
    place.parent.mkdir(parents=True)
    with pytest.raises(UserError, match=r"Cannot download .* by hand, as .*kang2018/0\.$"):
        download("http://127.0.0.1:9/x", place, None, wait=0.01)


def test_the_shipped_tables_name_the_same_studies_and_labels(tmp_path):
    originals = read_originals(RESOURCES / "pbmc" / "originals.tsv")
    manifest = RESOURCES / "pbmc" / "manifest_originals.tsv"
    assert missing_studies(manifest, tmp_path) == list(originals)
    (tmp_path / "pbmc3k.h5ad").touch()
    assert missing_studies(manifest, tmp_path) == ["zheng2017", "kang2018"]
    labels = pd.read_csv(RESOURCES / "pbmc" / "cell_types.tsv", sep="\t")
    sorted_labels = labels.loc[labels["study"] == "zheng2017", "author_cell_type"]
    assert set(originals["zheng2017"]) == set(sorted_labels)
    assert all(url.startswith("https://") for parts in originals.values() for url in parts.values())


def test_a_table_of_originals_that_is_incomplete_is_told(tmp_path):
    path = tmp_path / "o.tsv"
    path.write_text("study\tpart\turl\na\tcounts\t\n")
    with pytest.raises(UserError, match="lacks a url in a row"):
        read_originals(path)
    path.write_text("study\tpart\turl\na\tx\tu\na\tx\tv\n")
    with pytest.raises(UserError, match="has x of a twice"):
        read_originals(path)


def test_what_is_made_is_read_like_any_study(served, tmp_path):
    folder, _ = served
    labels = pd.read_csv(RESOURCES / "pbmc" / "cell_types.tsv", sep="\t")
    own = labels.loc[labels["study"] == "zheng2017", "author_cell_type"]
    for i, _ in enumerate(own):
        archive(folder / f"{i}.tar.gz", counts(6, i), [f"b{k}" for k in range(6)], "x")
    fetch_and_build("zheng2017", served, {n: f"{i}.tar.gz" for i, n in enumerate(own)}, tmp_path)
    rows = (RESOURCES / "pbmc" / "manifest_originals.tsv").read_text().splitlines()
    (tmp_path / "manifest.tsv").write_text("\n".join(rows[:2]) + "\n")
    (tmp_path / "cell_types.tsv").write_text((RESOURCES / "pbmc" / "cell_types.tsv").read_text())
    ontology = read_ontology(RESOURCES / "ontology" / "cl-slim.obo")
    (study,) = read_manifest(tmp_path / "manifest.tsv", tmp_path, ["2023-05-15"], ontology)
    assert len(study.obs) == 60
    assert study.obs["cell_type_ontology_term_id"].nunique() == 10
