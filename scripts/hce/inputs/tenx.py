"""Files of 10x Genomics: `.h5` of Cell Ranger 2 and later, and folders of matrix.mtx.

https://www.10xgenomics.com/support/software/cell-ranger/latest/analysis/outputs describes both.
"""

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import pandas as pd

from hce.errors import UserError
from hce.inputs.matrices import Matrix, RowMatrix, matrix_of

Stored = Mapping[str, tuple[Any, pd.DataFrame]]
# Of Cell Ranger 3 and later; before, a group for each genome held all.
_GROUP = "matrix"
_COLUMNS = {"id": "gene_ids", "name": "feature_name", "feature_type": "feature_types"}


def is_h5(store: Any) -> bool:
    """Whether an open HDF5 file is one of 10x."""
    return any(_is_matrix(store[name]) for name in store)


def _is_matrix(group: Any) -> bool:
    return isinstance(group, h5py.Group) and {"barcodes", "indptr", "shape"} <= set(group)


def read_h5(store: Any) -> tuple[pd.DataFrame, Stored]:
    """The cells and matrices of an open `.h5`; with several genomes, a matrix for each.

    Returns:
        obs, and name → (matrix, var): X, or the names of the genomes.

    Raises:
        ValueError: the parts of the file contradict each other.
    """
    groups = [name for name in store if _is_matrix(store[name])]
    stored: dict[str, tuple[Matrix, pd.DataFrame]] = {}
    for name in groups:
        group = store[name]
        n_genes, n_cells = (int(size) for size in group["shape"][:])
        # Columns of genes by cells are rows of cells by genes.
        matrix = RowMatrix(group["indptr"][:], group["indices"], group["data"], (n_cells, n_genes))
        stored["X" if len(groups) == 1 else name] = (matrix, _features(group))
    return pd.DataFrame(index=_text(store[groups[0]]["barcodes"])), stored


def _features(group: Any) -> pd.DataFrame:
    if "features" in group:
        features = group["features"]
        columns = {new: _text(features[old]) for old, new in _COLUMNS.items() if old in features}
    else:
        columns = {"gene_ids": _text(group["genes"]), "feature_name": _text(group["gene_names"])}
    return pd.DataFrame(columns, index=columns["gene_ids"])


def _text(dataset: Any) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in dataset[:]]


def is_folder(path: str | Path) -> bool:
    """Whether a folder holds a matrix.mtx, perhaps compressed and with a prefix."""
    return Path(path).is_dir() and bool(_find(Path(path), "matrix.mtx"))


def read_folder(path: str | Path) -> tuple[pd.DataFrame, Stored]:
    """The cells and the matrix of a folder; the matrix is read into memory.

    Returns:
        obs, and X → (matrix, var).

    Raises:
        UserError: a file is missing, stands twice, or contradicts the others.
    """
    from scipy.io import mmread

    folder = Path(path)
    matrix = mmread(_one(folder, "matrix.mtx")).tocsr()
    cells = _lines(_one(folder, "barcodes.tsv"))
    genes = _lines(_one(folder, "features.tsv", "genes.tsv"))
    if matrix.shape == (len(genes), len(cells)):
        matrix = matrix.T.tocsr()
    if matrix.shape != (len(cells), len(genes)):
        raise UserError(
            f"Folder {folder} has {len(cells):,} barcodes and {len(genes):,} features, but its "
            f"matrix is {matrix.shape[0]:,} by {matrix.shape[1]:,}: they are of different data."
        )
    names = list(_COLUMNS.values())[: max(map(len, genes))]
    var = pd.DataFrame(
        {name: [gene[min(i, len(gene) - 1)] for gene in genes] for i, name in enumerate(names)},
        index=[gene[0] for gene in genes],
    )
    return pd.DataFrame(index=[cell[0] for cell in cells]), {"X": (matrix_of(matrix), var)}


def _find(folder: Path, name: str) -> list[Path]:
    found = [file for ending in ("", ".gz") for file in folder.glob(f"*{name}{ending}")]
    return sorted(file for file in found if file.is_file())


def _one(folder: Path, *names: str) -> Path:
    found = next((files for name in names if (files := _find(folder, name))), [])
    if len(found) != 1:
        what = "several files" if found else "no file"
        raise UserError(
            f"Folder {folder} has {what} {' or '.join(names)} (.gz): it needs one of each of "
            "matrix.mtx, barcodes.tsv and features.tsv."
        )
    return found[0]


def _lines(path: Path) -> list[list[str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        return [line.rstrip("\r\n").split("\t") for line in file]
