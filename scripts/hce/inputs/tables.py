"""Tables of cells and genes as anndata 0.6 and later, SeuratDisk and zellkonverter write them."""

from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pandas as pd

# Where anndata 0.7 and SeuratDisk keep the categories of the columns of a table.
_CATEGORIES = "__categories"


def read_table(store: Any, name: str) -> pd.DataFrame:
    """Reads obs or var.

    Args:
        store: the open file.
        name: path of the table in it.

    Raises:
        ValueError, KeyError: it is not a table.
    """
    from anndata.io import read_elem

    stored = store[name]
    if isinstance(stored, h5py.Dataset):
        return _compound(stored[:], store.get("uns", {}))
    if "column-order" not in stored.attrs:
        return _without_order(stored)
    table = read_elem(stored)
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"{name} is not a table")
    return table


def _compound(rows: np.ndarray, uns: Any) -> pd.DataFrame:
    """A table of anndata 0.6: a row is a record, and categories lie in uns."""
    columns: dict[str, Any] = {}
    for field in rows.dtype.names or ():
        columns[field] = _decoded(rows[field])
        if f"{field}_categories" in uns:
            columns[field] = _categorical(rows[field], uns[f"{field}_categories"])
    index = columns.pop("index" if "index" in columns else next(iter(columns)))
    return pd.DataFrame(columns, index=pd.Index(index))


def _without_order(group: Any) -> pd.DataFrame:
    """A table whose columns have no order, as SeuratDisk writes those without columns."""
    index = str(group.attrs.get("_index", "_index"))
    categories = group.get(_CATEGORIES, {})
    columns = {
        name: _categorical(stored[:], categories[name])
        if name in categories
        else _decoded(stored[:])
        for name, stored in group.items()
        if isinstance(stored, h5py.Dataset) and name != index
    }
    return pd.DataFrame(columns, index=pd.Index(_decoded(group[index][:])))


def _categorical(codes: np.ndarray, categories: Any) -> pd.Categorical:
    names = _decoded(categories[:] if categories.shape else np.atleast_1d(categories[()]))
    return pd.Categorical.from_codes(codes.astype(np.int64).tolist(), categories=pd.Index(names))


def _decoded(values: np.ndarray) -> np.ndarray:
    """Text as str, other values as they are."""
    if values.dtype.kind not in "SO":
        return values
    return np.array([v.decode() if isinstance(v, bytes) else v for v in values], dtype=object)
