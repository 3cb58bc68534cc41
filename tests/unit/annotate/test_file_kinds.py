"""Cells get the types that they get from a clean h5ad, whatever file they come in."""

from dataclasses import replace

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from annotators import annotator, cells, make_annotator, make_cells
from foreign_cells import KINDS, anndata_0_6, tenx_h5, tenx_h5_v2, zarr_of
from hce.annotate import Options, annotate, annotate_file
from hce.errors import UserError
from hce.inputs.cells import open_cells

__all__ = ["annotator", "cells"]


def types_of(obs: pd.DataFrame) -> pd.DataFrame:
    return obs.filter(like="hce_").astype(str).reset_index(drop=True)


@pytest.fixture
def clean(annotator) -> pd.DataFrame:
    found = make_cells()
    annotate(found, annotator)
    return types_of(found.obs)


@pytest.mark.parametrize("kind", KINDS)
def test_every_cell_of_every_kind_of_file_keeps_its_type(kind, clean, cells, annotator, tmp_path):
    source = KINDS[kind](cells, tmp_path)
    annotation = annotate_file(source, annotator, tmp_path / "out.tsv")
    assert annotation.genes.found == 40
    pd.testing.assert_frame_equal(types_of(annotation.obs), clean)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"anndata 0.6"}))
def test_the_annotation_is_added_to_a_copy_of_every_kind_that_can_hold_it(
    kind, clean, cells, annotator, tmp_path
):
    source = KINDS[kind](cells, tmp_path)
    out = tmp_path / ("out.zarr" if source.suffix == ".zarr" else "out.h5ad")
    annotate_file(source, annotator, out)
    with open_cells(out) as found:
        pd.testing.assert_frame_equal(types_of(found.obs), clean)
        assert "10x" in kind or found.obs["age"].tolist() == list(range(30))


def test_a_file_that_cannot_be_extended_says_so_and_leaves_nothing(cells, annotator, tmp_path):
    source = anndata_0_6(cells, tmp_path)
    with pytest.raises(UserError, match=r"before anndata 0\.7.*write a table"):
        annotate_file(source, annotator, tmp_path / "out.h5ad")
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_a_copy_of_a_read_only_zarr_can_be_written_to(clean, cells, annotator, tmp_path):
    source = zarr_of(2)(cells, tmp_path)
    for path in [source, *source.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    out = tmp_path / "out.zarr"
    annotate_file(source, annotator, out)
    assert all(path.stat().st_mode & 0o200 for path in [out, *out.rglob("*")])
    pd.testing.assert_frame_equal(types_of(ad.read_zarr(out).obs), clean)
    for path in [source, *source.rglob("*")]:
        path.chmod(0o755)


def test_a_view_in_memory_gets_its_columns_and_one_of_a_backed_file_is_refused(
    clean, annotator, cells, tmp_path
):
    view = cells[::-1][::-1]
    assert view.is_view
    annotate(view, annotator)
    pd.testing.assert_frame_equal(types_of(view.obs), clean)
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    with pytest.raises(UserError, match=r"a view of a backed file.*to_memory"):
        annotate(backed[:10], annotator)


def test_counts_beyond_16_bits_are_read(cells, annotator):
    expected = cells.copy()
    expected.X = expected.X * 9000
    annotate(expected, annotator)
    assert expected.X.max() > 65_535
    annotate(cells, annotator)
    for column in ("hce_cell_type", "hce_back_off_cell_type"):
        assert (expected.obs[column] == cells.obs[column]).all()


def test_fractions_are_read_where_rounding_is_asked_for(annotator, clean, cells):
    rng = np.random.default_rng(0)
    cells.X.data = cells.X.data + rng.choice([0, 0, 0.2, -0.2], len(cells.X.data)).astype("f4")
    with pytest.raises(UserError, match=r"holds fractions such as .* SoupX.*give --round"):
        annotate(cells, annotator)
    annotate(cells, annotator, rounded=True)
    pd.testing.assert_frame_equal(types_of(cells.obs), clean)
    assert cells.uns["hce"]["counts_rounded"]


def test_what_was_chosen_and_what_else_there_was_is_kept(annotator, cells):
    cells.layers["counts"] = cells.X.copy()
    cells.X = cells.X.log1p()
    annotate(cells, annotator)
    found = cells.uns["hce"]
    assert found["counts"] == "counts"
    assert "X: values such as" in found["counts_others"][0]
    assert "log-transformed" in found["counts_others"][0]


def test_a_panel_is_refused_unless_it_is_asked_for(annotator, cells, caplog):
    panel = cells[:, [*range(5), *range(10, 15), *range(30, 35)]].copy()
    with pytest.raises(UserError, match="15 of the model's 40 genes"):
        annotate(panel.copy(), annotator)
    annotate(panel, annotator, panel=True)
    assert panel.uns["hce"]["panel"]
    assert "15 of the model's 40 genes" in caplog.text
    assert "does not hold" in caplog.text
    nothing = cells.copy()
    nothing.var_names = [f"probe{i}" for i in range(40)]
    nothing.var = nothing.var[[]]
    with pytest.raises(UserError, match="0 of the model's 40 genes"):
        annotate(nothing, annotator, panel=True)


def test_a_model_whose_ids_carry_versions_is_used(clean, cells):
    plain = make_annotator()
    names = [f"{name}.7" for name in plain.trained.genes["feature_id"]]
    trained = replace(plain.trained, genes=plain.trained.genes.assign(feature_id=names))
    cells.var = cells.var[[]]
    annotate(cells, replace(plain, trained=trained))
    pd.testing.assert_frame_equal(types_of(cells.obs), clean)


def test_of_a_file_with_two_genomes_the_one_with_the_models_genes_is_read(
    clean, cells, annotator, tmp_path
):
    mouse = make_cells(seed=5)
    mouse.var = pd.DataFrame(
        {"feature_name": [f"Mouse{i}" for i in range(40)]}, index=[f"ENSMUSG{i}" for i in range(40)]
    )
    mouse.X = mouse.X * 5
    (tmp_path / "human").mkdir()
    human_file = tenx_h5_v2(cells, tmp_path / "human")
    with h5py.File(human_file, "r+") as file:
        other = file.create_group("mm10")
        (tmp_path / "mouse").mkdir()
        with h5py.File(tenx_h5_v2(mouse, tmp_path / "mouse")) as source:
            for name in source["GRCh38"]:
                source.copy(f"GRCh38/{name}", other)
    annotation = annotate_file(human_file, annotator, tmp_path / "out.tsv", Options())
    assert annotation.uns["counts"] == "GRCh38"
    pd.testing.assert_frame_equal(types_of(annotation.obs), clean)


def test_an_h5_of_10x_is_written_as_h5ad_with_all_its_features(cells, annotator, tmp_path):
    annotate_file(tenx_h5(cells, tmp_path), annotator, tmp_path / "out.h5ad")
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    assert found.shape == (30, 43)
    assert found.var["feature_types"].tolist()[-1] == "Antibody Capture"
