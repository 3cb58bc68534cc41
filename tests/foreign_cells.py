"""Files of cells as other tools write them, made by hand from one AnnData."""

import gzip
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp
import zarr

TEXT = h5py.string_dtype()


def h5ad(cells: ad.AnnData, folder: Path) -> Path:
    cells.write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


def zarr_of(version: int):
    def write(cells: ad.AnnData, folder: Path) -> Path:
        group = zarr.open_group(folder / "cells.zarr", mode="w", zarr_format=version)
        ad.io.write_elem(group, "/", cells)
        return folder / "cells.zarr"

    return write


def _records(table: pd.DataFrame, uns: h5py.Group) -> np.ndarray:
    """A table as anndata 0.6 wrote it: one record per row, categories as codes."""
    columns: dict[str, np.ndarray] = {"index": table.index.to_numpy().astype("S")}
    for name, values in table.items():
        if isinstance(values.dtype, pd.CategoricalDtype):
            uns[f"{name}_categories"] = values.cat.categories.to_numpy().astype("S")
            columns[name] = values.cat.codes.to_numpy()
        else:
            columns[name] = values.to_numpy()
            if columns[name].dtype == object:
                columns[name] = columns[name].astype("S")
    kinds = [(name, values.dtype) for name, values in columns.items()]
    rows = np.empty(len(table), dtype=kinds)
    for name, values in columns.items():
        rows[name] = values
    return rows


def _old_matrix(file: h5py.Group, name: str, matrix: sp.csr_matrix) -> None:
    group = file.create_group(name)
    group.attrs["h5sparse_format"] = "csr"
    group.attrs["h5sparse_shape"] = matrix.shape
    for part in ("data", "indices", "indptr"):
        group[part] = getattr(matrix, part)


def anndata_0_6(cells: ad.AnnData, folder: Path) -> Path:
    """Variable genes, logged, in X; the counts of all genes in raw.X."""
    with h5py.File(folder / "cells.h5ad", "w") as file:
        uns = file.create_group("uns")
        _old_matrix(file, "X", sp.csr_matrix(cells.X[:, 5:20]).log1p())
        _old_matrix(file, "raw.X", cells.X)
        file["obs"] = _records(cells.obs, uns)
        file["var"] = _records(cells.var.iloc[5:20], uns)
        file["raw.var"] = _records(cells.var, uns)
    return folder / "cells.h5ad"


def _table_0_7(file: h5py.Group, name: str, table: pd.DataFrame, order: bool = True) -> None:
    """A table as anndata 0.7 and SeuratDisk wrote it: categories lie in __categories."""
    group = file.create_group(name)
    group.attrs["encoding-type"], group.attrs["encoding-version"] = "dataframe", "0.1.0"
    group.attrs["_index"] = "_index"
    if order:
        group.attrs.create("column-order", list(table), dtype=TEXT)
    group.create_dataset("_index", data=table.index.to_list(), dtype=TEXT)
    for column, values in table.items():
        if isinstance(values.dtype, pd.CategoricalDtype):
            names = group.require_group("__categories").create_dataset(
                str(column), data=values.cat.categories.to_list(), dtype=TEXT
            )
            names.attrs["ordered"] = False
            group[column] = values.cat.codes.to_numpy()
            group[column].attrs["categories"] = names.ref
        elif values.dtype.kind in "if":
            group[column] = values.to_numpy()
        else:
            group.create_dataset(str(column), data=values.to_list(), dtype=TEXT)


def _matrix_0_7(file: h5py.Group, name: str, matrix: sp.csr_matrix) -> None:
    group = file.create_group(name)
    group.attrs["encoding-type"], group.attrs["encoding-version"] = "csr_matrix", "0.1.0"
    group.attrs["shape"] = matrix.shape
    for part in ("data", "indices", "indptr"):
        group[part] = getattr(matrix, part)


def anndata_0_7(cells: ad.AnnData, folder: Path) -> Path:
    with h5py.File(folder / "cells.h5ad", "w") as file:
        _matrix_0_7(file, "X", cells.X)
        _table_0_7(file, "obs", cells.obs)
        _table_0_7(file, "var", cells.var)
    return folder / "cells.h5ad"


def seurat_disk(cells: ad.AnnData, folder: Path) -> Path:
    """Scaled values of variable genes in X, counts in raw; a table without columns has no order."""
    with h5py.File(folder / "cells.h5ad", "w") as file:
        file["X"] = cells.X[:, 5:20].toarray() - 0.5
        file.create_group("raw")
        _matrix_0_7(file, "raw/X", cells.X)
        _table_0_7(file, "raw/var", cells.var[[]], order=False)
        _table_0_7(file, "obs", cells.obs)
        _table_0_7(file, "var", cells.var[[]].iloc[5:20], order=False)
    return folder / "cells.h5ad"


def zellkonverter(cells: ad.AnnData, folder: Path) -> Path:
    """Assays as layers, an empty X, symbols in a column, R's names of cells."""
    made = ad.AnnData(
        None,
        obs=cells.obs.rename(index=lambda name: f"X{name}"),
        var=cells.var.rename(columns={"feature_name": "Symbol"}),
        layers={"counts": cells.X.copy(), "logcounts": cells.X.log1p()},
    )
    made.uns["X_name"] = "counts"
    return h5ad(made, folder)


def _features(group: h5py.Group, cells: ad.AnnData, kinds: list[str]) -> None:
    features = group.create_group("features")
    features["id"] = cells.var_names.to_numpy().astype("S")
    features["name"] = cells.var["feature_name"].to_numpy().astype("S")
    features["feature_type"] = np.array(kinds, dtype="S")
    features["genome"] = np.array(["GRCh38"] * len(kinds), dtype="S")
    features["_all_tag_keys"] = np.array(["genome"], dtype="S")


def _by_cell(group: h5py.Group, cells: ad.AnnData) -> None:
    group["barcodes"] = cells.obs_names.to_numpy().astype("S")
    group["shape"] = np.array(cells.shape[::-1])
    for part in ("data", "indices", "indptr"):
        group[part] = getattr(cells.X.astype(np.int32), part)


def with_antibodies(cells: ad.AnnData) -> ad.AnnData:
    """Three antibodies after the genes, one with the name of a gene, with many counts."""
    many = ad.AnnData(
        sp.csr_matrix(np.full((cells.n_obs, 3), 900, np.float32)),
        obs=cells.obs[[]],
        var=pd.DataFrame({"feature_name": ["GENE35A", "CD3", "CD4"]}, index=["AB1", "AB2", "AB3"]),
    )
    return ad.concat([cells, many], axis=1, merge="first")


def tenx_h5(cells: ad.AnnData, folder: Path) -> Path:
    with h5py.File(folder / "cells.h5", "w") as file:
        both = with_antibodies(cells)
        _by_cell(file.create_group("matrix"), both)
        kinds = ["Gene Expression"] * cells.n_vars + ["Antibody Capture"] * 3
        _features(file["matrix"], both, kinds)
    return folder / "cells.h5"


def tenx_h5_v2(cells: ad.AnnData, folder: Path) -> Path:
    with h5py.File(folder / "cells.h5", "w") as file:
        group = file.create_group("GRCh38")
        _by_cell(group, cells)
        group["genes"] = cells.var_names.to_numpy().astype("S")
        group["gene_names"] = cells.var["feature_name"].to_numpy().astype("S")
    return folder / "cells.h5"


def tenx_folder(cells: ad.AnnData, folder: Path) -> Path:
    """Cell Ranger 3: compressed, with the types of the features."""
    place = folder / "filtered_feature_bc_matrix"
    place.mkdir()
    both = with_antibodies(cells)
    kinds = ["Gene Expression"] * cells.n_vars + ["Antibody Capture"] * 3
    with gzip.open(place / "matrix.mtx.gz", "wb") as file:
        scipy.io.mmwrite(file, both.X.T.tocoo().astype(np.int32))
    with gzip.open(place / "barcodes.tsv.gz", "wt") as file:
        file.writelines(f"{name}\n" for name in cells.obs_names)
    with gzip.open(place / "features.tsv.gz", "wt") as file:
        rows = zip(both.var_names, both.var["feature_name"], kinds, strict=True)
        file.writelines("\t".join(row) + "\n" for row in rows)
    return place


def tenx_folder_v2(cells: ad.AnnData, folder: Path) -> Path:
    """Cell Ranger 2, with the prefix that GEO adds."""
    place = folder / "GSM1"
    place.mkdir()
    scipy.io.mmwrite(place / "GSM1_matrix.mtx", cells.X.T.tocoo().astype(np.int32))
    (place / "GSM1_barcodes.tsv").write_text("".join(f"{name}\n" for name in cells.obs_names))
    rows = zip(cells.var_names, cells.var["feature_name"], strict=True)
    (place / "GSM1_genes.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    return place


KINDS = {
    "h5ad": h5ad,
    "zarr v2": zarr_of(2),
    "zarr v3": zarr_of(3),
    "anndata 0.6": anndata_0_6,
    "anndata 0.7": anndata_0_7,
    "SeuratDisk": seurat_disk,
    "zellkonverter": zellkonverter,
    "10x h5": tenx_h5,
    "10x h5 v2": tenx_h5_v2,
    "10x folder": tenx_folder,
    "10x folder v2": tenx_folder_v2,
}
