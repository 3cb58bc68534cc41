"""Annotation of a user's own cells: right types, in every format, and the input as it was."""

import hashlib

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from annotators import (
    GENES,
    IDS,
    LABELS,
    N_GENES,
    R,
    annotator,
    cells,
    make_cells,
    model_path,
    truth,
)
from hce.annotate import Options, annotate, annotate_file
from hce.annotate.labels import Reader, paths
from hce.cli import main
from hce.errors import UserError
from hce.inputs.cells import cells_of, checked_blocks, open_cells
from hce.inputs.counts import find_counts
from hce.inputs.matrices import matrix_of

__all__ = ["annotator", "cells", "model_path"]


def sha(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_types_and_probabilities_are_those_of_an_independent_formula(cells, annotator):
    p = truth(cells)
    before = cells.X.copy()
    annotate(cells, annotator, probabilities=True)
    np.testing.assert_allclose(cells.obsm["hce_probabilities"], p, rtol=1e-4, atol=1e-6)
    assert cells.obs["hce_cell_type"].tolist() == [LABELS[i] for i in p.argmax(1)]
    assert cells.obs["hce_cell_type_ontology_term_id"].tolist() == [IDS[i] for i in p.argmax(1)]
    np.testing.assert_allclose(cells.obs["hce_probability"], p.max(1), rtol=1e-4)
    s = p @ R.T
    size = R.sum(1)
    for cell in range(cells.n_obs):
        passing = [i for i in range(4) if s[cell, i] >= 0.8]
        expected = (
            LABELS[min(passing, key=lambda i: (size[i], -s[cell, i]))] if passing else "unknown"
        )
        assert cells.obs["hce_back_off_cell_type"].iloc[cell] == expected
    assert (before != cells.X).nnz == 0
    assert cells.uns["hce"]["genes_found"] == N_GENES
    assert cells.uns["title"] == "mine"


def test_the_path_goes_from_the_most_general_type_down(annotator):
    assert paths(annotator.answers) == [
        "lymphocyte",
        "lymphocyte > T cell",
        "lymphocyte > T cell > CD4 T cell",
        "monocyte",
    ]


def in_layout(cells: ad.AnnData, layout: str) -> ad.AnnData:
    """The same cells with counts stored in another way or place."""
    counts = cells.X
    if layout == "csc":
        cells.X = sp.csc_matrix(counts)
    elif layout == "dense":
        cells.X = counts.toarray()
    elif layout == "int64":
        cells.X = counts.astype(np.int64)
    elif layout == "layer":
        cells.layers["umis"] = counts
        cells.X = counts * 0.37
    elif layout == "raw":
        cells.raw = cells
        cells = cells[:, 5:20].copy()
        cells.X = cells.X * 0.37
    elif layout == "no X":
        cells.layers["counts"] = counts
        cells.X = None
    return cells


@pytest.mark.parametrize("layout", ["csr", "csc", "dense", "int64", "layer", "raw", "no X"])
@pytest.mark.parametrize("form", ["h5ad", "zarr", "memory", "backed"])
def test_counts_are_found_and_read_wherever_they_are(layout, form, cells, annotator, tmp_path):
    if (layout, form) == ("no X", "backed"):
        pytest.skip("anndata cannot back a file without X")
    expected = cells.copy()
    annotate(expected, annotator)
    cells = in_layout(cells, layout)
    if form == "memory":
        annotate(cells, annotator)
        found = cells
    elif form == "backed":
        cells.write_h5ad(tmp_path / "cells.h5ad")
        found = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
        annotate(found, annotator)
        found.file.close()
    else:
        source, out = tmp_path / f"cells.{form}", tmp_path / f"out.{form}"
        getattr(cells, f"write_{form}")(source)
        annotate_file(source, annotator, out)
        found = getattr(ad, f"read_{form}")(out)
    new = [name for name in expected.obs if name.startswith("hce_")]
    pd.testing.assert_frame_equal(found.obs[new], expected.obs[new], check_categorical=False)


def test_blocks_are_the_rows_of_the_matrix_in_every_layout(monkeypatch):
    monkeypatch.setattr("hce.inputs.matrices.GROUP_VALUES", 25)
    monkeypatch.setattr("hce.inputs.matrices.CHUNK_VALUES", 11)
    matrix = sp.random(23, 9, 0.4, random_state=1, format="csr")
    matrix[3] = 0
    for stored in (matrix, matrix.tocsc(), matrix.toarray()):
        blocks = list(matrix_of(stored).blocks(5))
        np.testing.assert_array_equal(sp.vstack(blocks).toarray(), matrix.toarray())


def test_a_gene_that_stands_twice_in_a_cell_is_summed_and_the_input_is_not_altered(annotator):
    expected, cells = make_cells(), make_cells()
    annotate(expected, annotator)
    counts = cells.X
    parts = np.column_stack([counts.data - 1, np.ones_like(counts.data)]).ravel()
    cells.X = sp.csr_matrix((parts, np.repeat(counts.indices, 2), 2 * counts.indptr), counts.shape)
    annotate(cells, annotator)
    np.testing.assert_array_equal(cells.obs["hce_probability"], expected.obs["hce_probability"])
    np.testing.assert_array_equal(cells.X.data, parts)


@pytest.mark.parametrize("kind", ["float16", ">f4", ">i4", "longdouble"])
@pytest.mark.parametrize("layout", [sp.csr_matrix, sp.csc_matrix, sp.csr_matrix.toarray])
def test_numbers_of_any_type_are_read(kind, layout, tmp_path):
    cells = make_cells()
    cells.X = layout(cells.X)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        path = "X" if isinstance(file["X"], h5py.Dataset) else "X/data"
        values, attributes = file[path][:], dict(file[path].attrs)
        del file[path]
        file.create_dataset(path, data=values.astype(kind)).attrs.update(attributes)
    with open_cells(tmp_path / "cells.h5ad") as found:
        blocks = list(checked_blocks(find_counts(found)))
    np.testing.assert_array_equal(sp.vstack(blocks).toarray(), make_cells().X.toarray())


def test_wide_dense_matrices_are_read_few_cells_at_a_time(monkeypatch):
    monkeypatch.setattr("hce.inputs.matrices.DENSE_VALUES", 100)
    matrix = np.arange(23 * 9).reshape(23, 9)
    blocks = list(matrix_of(matrix).blocks(20))
    assert max(block.shape[0] for block in blocks) == 100 // 9
    np.testing.assert_array_equal(sp.vstack(blocks).toarray(), matrix)


def test_overwriting_replaces_the_columns_of_an_annotation_and_no_others(
    cells, annotator, tmp_path
):
    cells.obs["hce_batch"] = np.arange(30)
    annotate(cells, annotator)
    annotate(cells, annotator, probability=None, overwrite=True)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    options = Options(None, overwrite=True)
    annotate_file(tmp_path / "cells.h5ad", annotator, tmp_path / "out.h5ad", options)
    for found in (cells, ad.read_h5ad(tmp_path / "out.h5ad")):
        assert found.obs["hce_batch"].tolist() == list(range(30))
        assert "hce_back_off_cell_type" not in found.obs


def test_an_annotated_h5ad_is_the_input_with_more_and_the_input_is_not_altered(
    cells, model_path, tmp_path, capsys
):
    cells.write_h5ad(tmp_path / "cells.h5ad", compression="gzip")
    before = sha(tmp_path / "cells.h5ad")
    out = tmp_path / "out.h5ad"
    arguments = ["annotate", str(tmp_path / "cells.h5ad"), "--model", str(model_path)]
    assert main([*arguments, "--out", str(out), "--probabilities"]) == 0
    assert "30 cells" in capsys.readouterr().out
    assert sha(tmp_path / "cells.h5ad") == before
    found = ad.read_h5ad(out)
    old = list(cells.obs)
    pd.testing.assert_frame_equal(found.obs[old], cells.obs)
    assert found.obsm["hce_probabilities"].shape == (30, 4)
    np.testing.assert_array_equal(found.obsm["X_umap"], cells.obsm["X_umap"])
    assert (found.X != cells.X).nnz == 0
    assert found.uns["hce"]["types"].tolist() == LABELS
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cells.h5ad",
        "model.hce",
        "out.h5ad",
    ]

    assert main(
        ["annotate", str(out), "--model", str(model_path), "--out", str(tmp_path / "b.h5ad")]
    )
    assert "hce_cell_type of an earlier annotation" in capsys.readouterr().err
    again = ["annotate", str(out), "--model", str(model_path), "--overwrite-columns"]
    assert main([*again, "--out", str(tmp_path / "b.h5ad"), "--no-back-off"]) == 0
    replaced = ad.read_h5ad(tmp_path / "b.h5ad")
    assert "hce_back_off_cell_type" not in replaced.obs
    assert "hce_probabilities" not in replaced.obsm


@pytest.mark.parametrize("suffix", ["tsv", "parquet"])
def test_tables_hold_a_row_a_cell_with_the_columns_of_obs(suffix, cells, annotator, tmp_path):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    out = tmp_path / f"out.{suffix}"
    annotation = annotate_file(tmp_path / "cells.h5ad", annotator, out, Options(probabilities=True))
    table = pd.read_parquet(out) if suffix == "parquet" else pd.read_csv(out, sep="\t")
    assert list(table) == ["cell", *annotation.obs, *IDS]
    assert table["cell"].tolist() == cells.obs_names.tolist()
    assert table["hce_cell_type"].tolist() == annotation.obs["hce_cell_type"].tolist()


def test_a_vote_gives_every_cell_of_a_cluster_the_type_of_their_mean(cells, annotator):
    cells.obs["cluster"] = ["a"] * 12 + ["b"] * 10 + [None] * 8
    p = truth(cells)
    annotate(cells, annotator, vote="cluster")
    for name, rows in (("a", slice(0, 12)), ("b", slice(12, 22))):
        voted = cells.obs[cells.obs["cluster"] == name]
        mean = p[rows].mean(axis=0)
        assert set(voted["hce_vote_cell_type"]) == {LABELS[mean.argmax()]}
        np.testing.assert_allclose(voted["hce_vote_probability"], mean.max(), rtol=1e-4)
    nobody = cells.obs[cells.obs["cluster"].isna()]
    assert set(nobody["hce_vote_cell_type"]) == {"unknown"}
    assert nobody["hce_vote_probability"].isna().all()


def test_only_plausible_types_and_those_below_them_are_given(cells, annotator):
    p = truth(cells)
    annotate(cells, annotator, types=["t cell", "CL:0000576"], probabilities=True)
    kept = p * [0, 1, 1, 1]
    expected = kept / kept.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(cells.obsm["hce_probabilities"], expected, rtol=1e-4, atol=1e-6)
    assert set(cells.obs["hce_cell_type"]) == {"T cell", "CD4 T cell", "monocyte"}


def test_where_no_plausible_type_has_any_probability_all_are_equally_likely():
    reader = Reader(torch.from_numpy(R), 0.9, torch.tensor([False, True, True, False]))
    p = reader.restricted(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    assert p.tolist() == [[0.0, 0.5, 0.5, 0.0]]


def test_empty_cells_are_unknown_and_counted(cells, annotator):
    counts = cells.X.tolil()
    counts[4] = 0
    cells.X = counts.tocsr()
    annotate(cells, annotator, vote="cluster", probabilities=True)
    row = cells.obs.iloc[4]
    assert row["hce_cell_type"] == row["hce_back_off_cell_type_ontology_term_id"] == "unknown"
    assert np.isnan(row["hce_probability"])
    assert row["hce_vote_cell_type"] == "lymphocyte"
    assert np.isnan(cells.obsm["hce_probabilities"][4]).all()
    assert cells.uns["hce"]["empty_cells"] == 1


def rename(change):
    def apply(cells):
        cells.var = pd.DataFrame(index=[change(name) for name in GENES["feature_name"]])
        return cells

    return apply


def genes(cells, names):
    cells.var = pd.DataFrame(index=names)
    return cells


def repeated_gene(cells):
    """The first gene stands again at the end, with counts of another."""
    extra = cells[:, 30].copy()
    extra.var_names = ["GENE0A"]
    return ad.concat([genes(cells, list(GENES["feature_name"])), extra], axis=1)


class TestGenes:
    @pytest.mark.parametrize(
        "names",
        [
            [f"{name}.{i % 19}" for i, name in enumerate(GENES["feature_id"])],
            list(GENES["feature_name"]),
            list(GENES["feature_id"][:20]) + list(GENES["feature_name"][20:]),
        ],
    )
    def test_are_matched_by_id_with_or_without_version_and_by_name(self, names, cells, annotator):
        expected = cells.copy()
        annotate(expected, annotator)
        if "." not in names[0] and names[0].startswith("ENSG") and names[-1].startswith("GENE"):
            cells.var = pd.DataFrame({"feature_name": list(GENES["feature_name"])}, index=names)
        else:
            genes(cells, names)
        annotate(cells, annotator)
        pd.testing.assert_frame_equal(
            cells.obs.filter(like="hce_"), expected.obs.filter(like="hce_")
        )

    def test_in_any_order_and_among_others_give_the_same(self, cells, annotator):
        expected = cells.copy()
        annotate(expected, annotator)
        order = np.random.default_rng(2).permutation(N_GENES)
        other = ad.AnnData(
            sp.csr_matrix(np.full((30, 3), 500, np.float32)),
            obs=cells.obs,
            var=pd.DataFrame(index=["X1", "X2", "X3"]),
        )
        mixed = ad.concat([other, cells[:, order]], axis=1, merge="first")
        annotate(mixed, annotator)
        pd.testing.assert_frame_equal(
            mixed.obs.filter(like="hce_"), expected.obs.filter(like="hce_")
        )

    def test_of_several_columns_for_one_gene_the_first_is_taken_and_named(self, cells, annotator):
        expected = cells.copy()
        annotate(expected, annotator)
        cells = repeated_gene(cells)
        cells.obs = expected.obs[["age"]]
        annotate(cells, annotator)
        assert cells.uns["hce"]["genes_repeated"].tolist() == ["GENE0A"]
        assert (cells.obs["hce_cell_type"] == expected.obs["hce_cell_type"]).all()

    def test_that_are_missing_count_as_zero_and_are_listed(
        self, cells, model_path, tmp_path, capsys
    ):
        cells[:, 2:].write_h5ad(tmp_path / "cells.h5ad")
        report = tmp_path / "missing.tsv"
        arguments = ["annotate", str(tmp_path / "cells.h5ad"), "--model", str(model_path)]
        arguments += ["--out", str(tmp_path / "out.tsv"), "--genes", str(report)]
        assert main(arguments) == 0
        assert "38 of the model's 40 genes" in capsys.readouterr().err
        assert report.read_text().split() == ["missing", "GENE0A", "GENE1A"]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (rename(str.capitalize), "genes of mouse|mouse genes"),
            (rename(lambda name: f"{name}.1"), "end in versions or numbers, such as 'GENE0A.1'"),
            (rename(lambda name: f"probe-{name}"), "named otherwise, such as 'probe-GENE0A'"),
            (
                lambda c: genes(c, [n.replace("G", "MUSG", 1) for n in GENES["feature_id"]]),
                "ENSMUSG",
            ),
            (lambda c: c[:, :19].copy(), "19 of the model's 40 genes"),
        ],
    )
    def test_of_another_kind_are_refused_with_the_reason(self, change, words, cells, annotator):
        with pytest.raises(UserError, match=words) as error:
            annotate(change(cells), annotator)
        assert "\n" not in str(error.value)
        assert not [name for name in cells.obs if name.startswith("hce_")]


def test_reading_looks_at_obs_and_places_of_a_file(cells, tmp_path):
    cells.layers["scaled"] = cells.X.toarray() - 0.5
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with open_cells(tmp_path / "cells.h5ad") as found:
        assert list(found.places) == list(cells_of(cells).places) == ["X", "scaled"]
        assert len(found) == 30


def test_more_cells_than_a_block_give_what_single_blocks_give(annotator, monkeypatch):
    cells = make_cells(90)
    expected = cells.copy()
    annotate(expected, annotator, probabilities=True, vote="cluster")
    monkeypatch.setattr("hce.annotate.run.BATCH_CELLS", 16)
    monkeypatch.setattr(checked_blocks, "__defaults__", (37,))
    annotate(cells, annotator, probabilities=True, vote="cluster")
    assert (cells.obs["hce_cell_type"] == expected.obs["hce_cell_type"]).all()
    np.testing.assert_allclose(
        cells.obsm["hce_probabilities"], expected.obsm["hce_probabilities"], rtol=1e-5
    )
