"""Bad scTab archives: one sentence that names the file, and nothing left behind."""

import re
import shutil
import tarfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hce.errors import UserError
from hce.sources.sctab import open_archive, read_cells, write_set
from hce.sources.sctab_unpack import unpack
from sctab_archive import copy, small_hierarchy, written

__all__ = ["copy", "small_hierarchy", "written"]


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
        with pytest.raises(UserError, match=r"outside would be outside of the folder"):
            unpack(tmp_path / "a.tar.gz", tmp_path / "deep/out")
        assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.tar.gz", "deep", "x"]

    def test_an_archive_of_something_else(self, tmp_path):
        (tmp_path / "x").write_text("x")
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
            tar.add(tmp_path / "x", arcname="x")
        with pytest.raises(UserError, match=r"has no scTab store"):
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
            (lambda x: np.where(x > 0, 37.0, x), r"has 37\.0 for cell \d+.* between 0 and 9\.21"),
            (lambda x: np.where(x > 0, -x, x), r"has -"),
            (lambda x: np.where(x > 0, np.nan, x), r"has nan for cell"),
            (lambda x: np.where(x > 0, 1.0, x), r"are not log1p of counts per 10,000 \(they add"),
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
        with pytest.raises(UserError, match=r"train has 80 cells, but 112 were listed before"):
            write_set(archive, "train", cells, tmp_path / "store", {})
