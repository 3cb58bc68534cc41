"""Matrices of cells by genes, on disk or in memory, read in blocks of cells.

Whatever the layout (dense, compressed rows, compressed columns) and whoever holds the numbers
(HDF5, zarr, scipy, NumPy): blocks are scipy CSR, and no more than some thousand
cells are in memory.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

# Cells read at a time.
BLOCK_CELLS = 4096
# Of a dense matrix no more values than these, 64 MB as float32.
DENSE_VALUES = 2**24
# A matrix in columns is read anew for each group of cells with about so many values, which take up
# to 2 GB while they are put in order; so many values are read at a time.
GROUP_VALUES = 2**26
CHUNK_VALUES = 2**22


class NotNumbers(ValueError):
    """What is stored is not a matrix of numbers in a layout that is read."""


class Matrix(ABC):
    """Cells by genes.

    Attributes:
        shape: (cells, genes).
    """

    shape: tuple[int, int]

    @abstractmethod
    def blocks(self, cells: int = BLOCK_CELLS) -> Iterator[sp.csr_matrix]:
        """Yields the cells in order, at most so many at a time; see `cells.checked_blocks`.

        A gene may stand in a cell more than once, and in any order: what is written is yielded.

        Raises:
            ValueError: the numbers are not those of a matrix.
        """


@dataclass(frozen=True)
class DenseMatrix(Matrix):
    """An array; `values` is anything that slices to NumPy."""

    values: Any
    shape: tuple[int, int]

    def blocks(self, cells: int = BLOCK_CELLS) -> Iterator[sp.csr_matrix]:
        """See Matrix."""
        cells = max(1, min(cells, DENSE_VALUES // max(self.shape[1], 1)))
        for start in range(0, self.shape[0], cells):
            yield sp.csr_matrix(_plain(self.values[start : start + cells]))


@dataclass(frozen=True)
class RowMatrix(Matrix):
    """Compressed rows.

    Attributes:
        indptr: integer (cells + 1), in memory.
        indices: column of each value; anything that slices to NumPy.
        data: the values, likewise.
        shape: (cells, genes).
    """

    indptr: np.ndarray
    indices: Any
    data: Any
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        _check_bounds(self.indptr, self.shape[0], self.indices, self.data)

    def blocks(self, cells: int = BLOCK_CELLS) -> Iterator[sp.csr_matrix]:
        """See Matrix."""
        for start in range(0, self.shape[0], cells):
            bounds = np.asarray(self.indptr[start : start + cells + 1], dtype=np.int64)
            low, high = int(bounds[0]), int(bounds[-1])
            indices = _checked(self.indices[low:high], self.shape[1])
            parts = (_plain(self.data[low:high]), indices, bounds - low)
            yield sp.csr_matrix(parts, shape=(len(bounds) - 1, self.shape[1]))


@dataclass(frozen=True)
class ColumnMatrix(Matrix):
    """Compressed columns; attributes as RowMatrix, with rows and columns exchanged."""

    indptr: np.ndarray
    indices: Any
    data: Any
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        _check_bounds(self.indptr, self.shape[1], self.indices, self.data)

    def blocks(self, cells: int = BLOCK_CELLS) -> Iterator[sp.csr_matrix]:
        """See Matrix; the whole matrix is read once for each group of cells."""
        group_cells = max(1, GROUP_VALUES * self.shape[0] // max(int(self.indptr[-1]), 1))
        for start in range(0, self.shape[0], group_cells):
            group = self._rows(start, min(start + group_cells, self.shape[0]))
            for first in range(0, group.shape[0], cells):
                yield group[first : first + cells]
            del group  # before the next one takes memory

    def _rows(self, start: int, stop: int) -> sp.csr_matrix:
        values, rows = [], []
        lengths = np.zeros(self.shape[1], dtype=np.int64)
        for low in range(0, int(self.indptr[-1]), CHUNK_VALUES):
            high = min(low + CHUNK_VALUES, int(self.indptr[-1]))
            row = _checked(self.indices[low:high], self.shape[0])
            kept = np.flatnonzero((row >= start) & (row < stop))
            rows.append((row[kept] - start).astype(np.int32))
            values.append(_plain(self.data[low:high])[kept])
            column = np.searchsorted(self.indptr, low + kept, side="right") - 1
            lengths += np.bincount(column, minlength=len(lengths))
        if not values:
            return sp.csr_matrix((stop - start, self.shape[1]))
        # From columns and not from coordinates, of which scipy would sum those that are equal.
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        data = np.concatenate(values)
        values.clear()  # memory
        indices = np.concatenate(rows)
        rows.clear()
        parts = (data, indices, indptr)
        return sp.csc_matrix(parts, shape=(stop - start, self.shape[1])).tocsr()


def _check_bounds(indptr: np.ndarray, lines: int, indices: Any, data: Any) -> None:
    if indptr.shape != (lines + 1,) or indptr.dtype.kind not in "iu":
        raise ValueError(f"a matrix of {lines} lines has {indptr.shape} bounds")
    ends = int(indptr[0]), int(indptr[-1])
    if (
        ends[0] != 0
        or ends[1] > min(indices.shape[0], data.shape[0])
        or (indptr[1:] < indptr[:-1]).any()
    ):
        raise ValueError("the lines of a matrix do not begin and end where it says")


def _checked(indices: Any, limit: int) -> np.ndarray:
    """Indices, checked to be from 0 to below the limit: compiled code trusts them."""
    indices = np.asarray(indices)
    if indices.dtype.kind not in "iu":
        raise ValueError(f"a matrix has indices of type {indices.dtype}")
    if len(indices) and not (indices.min() >= 0 and indices.max() < limit):
        raise ValueError(f"a matrix has an index outside of 0 to {limit - 1}")
    return indices


def _plain(values: Any) -> np.ndarray:
    """Numbers in a type that scipy and compiled code know: half and long floats are not."""
    values = np.asarray(values)
    if values.dtype.kind == "f" and values.dtype.itemsize not in (4, 8):
        return values.astype(np.float32 if values.dtype.itemsize < 4 else np.float64)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def matrix_of(stored: Any) -> Matrix:
    """The matrix that HDF5, zarr, anndata, scipy or NumPy holds.

    Raises:
        NotNumbers: it is none.
        ValueError: it is one that contradicts itself.
    """
    if isinstance(stored, Matrix):
        return stored
    stored = getattr(stored, "group", stored)  # anndata's sparse matrix on disk
    layout, sizes = _layout(stored)
    if len(sizes) != 2:
        raise NotNumbers(f"a matrix has {len(sizes)} dimensions")
    shape = (sizes[0], sizes[1])
    if layout == "dense":
        matrix: Matrix = DenseMatrix(stored, shape)
    else:
        indptr, indices, data = (_part(stored, name) for name in ("indptr", "indices", "data"))
        lines = RowMatrix if layout.startswith("csr") else ColumnMatrix
        matrix = lines(indptr=indptr[:], indices=indices, data=data, shape=shape)
    kind = np.dtype((stored if layout == "dense" else _part(stored, "data")).dtype).kind
    if kind not in "fiub":
        raise NotNumbers("a matrix holds no numbers")
    return matrix


def _layout(stored: Any) -> tuple[str, tuple[int, ...]]:
    if sp.issparse(stored):
        if stored.format not in ("csr", "csc"):
            raise NotNumbers(f"a matrix is in the sparse format {stored.format}, not csr or csc")
        return stored.format, stored.shape
    if hasattr(stored, "shape"):
        return "dense", tuple(stored.shape)
    attributes = dict(stored.attrs)
    layout = attributes.get("encoding-type", attributes.get("h5sparse_format"))
    shape = attributes.get("shape", attributes.get("h5sparse_shape"))
    if layout not in ("csr_matrix", "csc_matrix", "csr", "csc") or shape is None:
        raise NotNumbers(f"a matrix is stored as {layout!r}")
    return str(layout), tuple(int(size) for size in shape)


def _part(stored: Any, name: str) -> Any:
    return getattr(stored, name) if sp.issparse(stored) else stored[name]
