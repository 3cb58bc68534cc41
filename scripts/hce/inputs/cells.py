"""A user's cells: h5ad, zarr and 10x files, or AnnData in memory.

Files are opened for reading only, and their counts are read in blocks of cells.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from hce.errors import UserError
from hce.inputs import tenx
from hce.inputs.matrices import BLOCK_CELLS, Matrix, NotNumbers, matrix_of
from hce.inputs.opening import check_readable, kind_of, open_store, reading
from hce.inputs.tables import read_table
from hce.store.counts import MAX_COUNT, check_counts

if TYPE_CHECKING:  # seconds to import, which those that open no file need not wait for
    from anndata import AnnData

# Places in the order in which they are named; further layers follow.
ORDER = ("X", "raw", "counts", "raw_counts", "count", "umi")
IN_MEMORY = "the AnnData"


@dataclass(frozen=True)
class Place:
    """A matrix of a file with its genes.

    Attributes:
        name: where it lies: "X", "raw" or the name of a layer.
        file: whose it is, for messages.
        matrix: cells by genes.
        var: the genes, one row per column of the matrix.
        rounded: whether its values are rounded to counts as they are read.
    """

    name: str
    file: str
    matrix: Matrix
    var: pd.DataFrame
    rounded: bool = False

    def blocks(self, cells: int = BLOCK_CELLS) -> Iterator[sp.csr_matrix]:
        """Yields the cells in order, so many at a time, see `Matrix.blocks`.

        Raises:
            UserError: the matrix cannot be read.
        """
        with reading(self.file):
            yield from self.matrix.blocks(cells)


@dataclass(frozen=True)
class Cells:
    """Cells of a file or an AnnData.

    Attributes:
        file: the path, or "the AnnData".
        obs: the table of cells.
        places: name → matrix, in the order of `ORDER`.
        unread: name → why a place holds no matrix of numbers.
    """

    file: str
    obs: pd.DataFrame
    places: Mapping[str, Place]
    unread: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.obs)


@contextmanager
def open_cells(path: str | Path) -> Iterator[Cells]:
    """Opens an h5ad or zarr file, or a file or folder of 10x, for reading.

    Raises:
        UserError: it does not exist, is locked or may not be read, is of another format, cannot be
            read, or holds no cells or no genes.
    """
    check_readable(path)
    with reading(str(path)):
        opened: Any = nullcontext() if tenx.is_folder(path) else open_store(path, "r")
        store = opened.__enter__()
    try:
        with reading(str(path)):
            kind = kind_of(path, store)
            if kind == "10x folder":
                obs, stored = tenx.read_folder(path)
            elif kind == "10x h5":
                obs, stored = tenx.read_h5(store)
            else:
                obs, stored = read_table(store, "obs"), _stored(store)
            cells = _cells(str(path), obs, stored)
        yield cells
    finally:
        opened.__exit__(None, None, None)


def _stored(store: Any) -> dict[str, tuple[Any, pd.DataFrame]]:
    """The matrices of an open h5ad or zarr file with their genes."""
    var = read_table(store, "var")
    stored = {"X": (store["X"], var)} if _holds(store, "X") else {}
    for matrix, genes in (("raw/X", "raw/var"), ("raw.X", "raw.var")):  # the latter: anndata 0.6
        if matrix in store and genes in store:
            stored["raw"] = (store[matrix], read_table(store, genes))
    layers = store.get("layers", {})
    return stored | _named({name: (layers[name], var) for name in layers}, stored)


def _named(layers: dict[str, Any], taken: Mapping[str, Any]) -> dict[str, Any]:
    """The layers by name; one that is called X or raw as they are is layers/X or layers/raw."""
    return {f"layers/{name}" if name in taken else name: layer for name, layer in layers.items()}


def _holds(store: Any, name: str) -> bool:
    """Whether a file has an element that is not null, as anndata writes None."""
    return name in store and store[name].attrs.get("encoding-type") != "null"


def cells_of(adata: "AnnData") -> Cells:
    """The cells of an AnnData, in memory or backed, or a view of one in memory.

    Raises:
        UserError: it holds no cells or no genes, or is a view of a backed file.
    """
    if adata.is_view and adata.isbacked:
        raise UserError(
            "The AnnData is a view of a backed file, which takes no new columns: call its method "
            "to_memory first, or annotate the file."
        )
    stored = {} if adata.X is None else {"X": (adata.X, adata.var)}
    if adata.raw is not None:
        stored["raw"] = (adata.raw.X, adata.raw.var)
    stored |= _named({name: (layer, adata.var) for name, layer in adata.layers.items()}, stored)
    with reading(IN_MEMORY):
        return _cells(IN_MEMORY, adata.obs, stored)


def _cells(file: str, obs: pd.DataFrame, stored: Mapping[str, tuple[Any, pd.DataFrame]]) -> Cells:
    places, unread = {}, {}
    for name in dict.fromkeys(name for name in [*ORDER, *stored] if name in stored):
        stored_matrix, var = stored[name]
        try:
            matrix = matrix_of(stored_matrix)
        except NotNumbers as error:
            unread[name] = str(error)
            continue
        if matrix.shape != (len(obs), len(var)):
            raise ValueError(
                f"{name} is {matrix.shape}, but there are {len(obs)} cells and {len(var)} genes"
            )
        places[name] = Place(name, file, matrix, var)
    empty = not len(obs) or not any(len(place.var) for place in places.values())
    if empty and not (unread and len(obs)):
        raise UserError(
            f"File {file} is empty: it has {len(obs)} cells and {len(places)} matrices."
        )
    return Cells(file, obs, places, unread)


def checked_blocks(
    place: Place, cells: int = BLOCK_CELLS, *, largest: int = MAX_COUNT
) -> Iterator[sp.csr_matrix]:
    """Yields the blocks of a place, each checked to be counts: all that reads counts goes here.

    A gene stands once in a cell, and the genes of a cell ascend. Counts of a gene that stands more
    often are checked first and then summed.

    Args:
        place: whose counts; rounded where the place says so.
        cells: of a block.
        largest: no count may be larger.

    Raises:
        UserError: a value or a sum is not a count, or the matrix cannot be read.
    """
    for block in place.blocks(cells):
        if place.rounded:
            block = block.copy()  # the numbers may be the user's own
            block.data = np.rint(block.data)
        try:
            check_counts(block.data, largest)
            if not block.has_canonical_format:
                block = block.astype(np.int64)  # a copy: the numbers may be the user's own
                block.sum_duplicates()
                check_counts(block.data, largest)
        except ValueError as error:
            raise UserError(
                f"File {place.file} holds values that are no counts ({place.name}: {error}): put "
                "the raw counts into X or a layer, or name their layer."
            ) from error
        yield block
