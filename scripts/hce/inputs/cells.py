"""A user's cells: h5ad and zarr files, or AnnData in memory; and where their raw counts are.

Files are opened for reading only, and their counts are read in blocks of cells.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import h5py  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
import scipy.sparse as sp

from hce.errors import UserError
from hce.inputs.links import check_links
from hce.inputs.matrices import BLOCK_CELLS, Matrix, matrix_of
from hce.store.counts import check_counts

if TYPE_CHECKING:  # seconds to import, which those that open no file need not wait for
    from anndata import AnnData

# Cells that are looked at, at first, to tell whether a matrix holds counts.
LOOK_CELLS = 1000
# Layers that are asked first.
COUNT_LAYERS = ("counts", "raw_counts", "raw", "count", "umi")


@dataclass(frozen=True)
class Place:
    """A matrix of a file with its genes.

    Attributes:
        name: where it lies: "X", "raw" or the name of a layer.
        file: whose it is, for messages.
        matrix: cells by genes.
        var: the genes, one row per column of the matrix.
    """

    name: str
    file: str
    matrix: Matrix
    var: pd.DataFrame

    def blocks(self, cells: int = BLOCK_CELLS) -> Iterator[sp.csr_matrix]:
        """Yields the cells in order, so many at a time, see `Matrix.blocks`.

        Raises:
            UserError: the matrix cannot be read.
        """
        with _reading(self.file):
            yield from self.matrix.blocks(cells)


@dataclass(frozen=True)
class Cells:
    """Cells of a file or an AnnData.

    Attributes:
        file: the path, or "the AnnData".
        obs: the table of cells.
        places: name → matrix, in the order in which counts are looked for.
    """

    file: str
    obs: pd.DataFrame
    places: Mapping[str, Place]

    def __len__(self) -> int:
        return len(self.obs)


def is_zarr(path: str | Path) -> bool:
    """Whether a path names a zarr folder (by its suffix, or because it is a folder)."""
    return Path(path).suffix == ".zarr" or Path(path).is_dir()


@contextmanager
def open_store(path: str | Path, mode: Literal["r", "r+"]) -> Iterator[Any]:
    """Opens an h5ad or zarr file as a group of HDF5 or zarr.

    Raises:
        UserError: a link in it leads out of it.
    """
    if is_zarr(path):
        import zarr  # half a second that h5ad files do not need

        # A summary of the metadata, where there is one, forbids to add to the group.
        group = zarr.open_group(str(path), mode=mode, use_consolidated=False)
        check_links(path, group)
        yield group
    else:
        with h5py.File(path, mode) as file:
            check_links(path, file)
            yield file


@contextmanager
def open_cells(path: str | Path, place: str | None = None) -> Iterator[Cells]:
    """Opens an h5ad or zarr file for reading.

    Args:
        path: the file.
        place: the only matrix to look at, "X", "raw" or a layer; None: all.

    Raises:
        UserError: it does not exist, cannot be read, or holds no cells or no genes.
    """
    from anndata.io import read_elem

    if not Path(path).exists():
        raise UserError(f"File {path} does not exist: correct its name.")
    with _reading(str(path)):
        opened = open_store(path, "r")
        store = opened.__enter__()
    try:
        with _reading(str(path)):
            obs, var = read_elem(store["obs"]), read_elem(store["var"])
            stored = {"X": (store["X"], var)} if _holds(store, "X") else {}
            if _holds(store, "raw"):
                stored["raw"] = (store["raw/X"], read_elem(store["raw/var"]))
            layers = store.get("layers", {})
            stored |= {name: (layers[name], var) for name in layers}
            stored = {key: found for key, found in stored.items() if place in (None, key)}
            cells = _cells(str(path), obs, stored)
        yield cells
    finally:
        opened.__exit__(None, None, None)


def _holds(store: Any, name: str) -> bool:
    """Whether a file has an element that is not null, as anndata writes None."""
    return name in store and store[name].attrs.get("encoding-type") != "null"


def cells_of(adata: "AnnData") -> Cells:
    """The cells of an AnnData, in memory or backed.

    Raises:
        UserError: it holds no cells or no genes.
    """
    stored = {} if adata.X is None else {"X": (adata.X, adata.var)}
    if adata.raw is not None:
        stored["raw"] = (adata.raw.X, adata.raw.var)
    stored |= {name: (layer, adata.var) for name, layer in adata.layers.items()}
    with _reading("the AnnData"):
        return _cells("the AnnData", adata.obs, stored)


def _cells(file: str, obs: pd.DataFrame, stored: Mapping[str, tuple[Any, pd.DataFrame]]) -> Cells:
    places = {}
    order = ["X", "raw", *COUNT_LAYERS, *stored]
    for name in dict.fromkeys(name for name in order if name in stored):
        matrix, var = stored[name]
        place = Place(name, file, matrix_of(matrix), var)
        if place.matrix.shape != (len(obs), len(var)):
            raise ValueError(
                f"{name} is {place.matrix.shape}, but there are {len(obs)} cells and {len(var)} "
                "genes"
            )
        places[name] = place
    if not len(obs) or not places or not any(len(place.var) for place in places.values()):
        raise UserError(
            f"File {file} is empty: it has {len(obs)} cells and {len(places)} matrices."
        )
    return Cells(file, obs, places)


@contextmanager
def _reading(file: str) -> Iterator[None]:
    """Whatever goes wrong inside is the file's fault."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # h5py, zarr and anndata raise whatever their input provokes
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise UserError(
            f"File {file} cannot be read as h5ad or zarr ({reason:.200}): it is truncated, damaged "
            "or of another format; copy it again."
        ) from error


def find_counts(cells: Cells, layer: str | None = None) -> Place:
    """Finds the raw counts.

    Args:
        cells: where to look.
        layer: the place to take ("X", "raw" or a layer), or None: the first of X, raw and the
            layers that holds counts.

    Raises:
        UserError: there is no such place, or no counts where they are looked for.
    """
    if layer is not None and layer not in cells.places:
        raise UserError(
            f"File {cells.file} has no layer {layer!r}: name one of {', '.join(cells.places)}."
        )
    problems = {}
    for name in [layer] if layer is not None else cells.places:
        problem = _problem(cells.places[name])
        if problem is None:
            return cells.places[name]
        problems[name] = problem
    found = "; ".join(f"{name} {problem}" for name, problem in problems.items())
    raise UserError(
        f"File {cells.file} holds no raw counts where they were looked for ({found}): put them "
        "into X or a layer, or name their layer."
    )


def _problem(place: Place) -> str | None:
    """Why a place holds no counts, judged by its first cells that are not empty."""
    for block in place.blocks(LOOK_CELLS):
        if not len(block.data):
            continue
        try:
            check_counts(block.data)
        except ValueError:
            return f"holds {_kind(block.data)}"
        if block.data.any():
            return None
    return "holds nothing but zeros"


def _kind(values: np.ndarray) -> str:
    """What values that are no counts seem to be, with one of them."""
    if not np.isfinite(values).all():
        return "values that are missing or infinite"
    if (values < 0).any():
        return f"negative values such as {values.min():.4g}, as scaled data do"
    broken = values[values % 1 != 0]
    if not len(broken):
        return f"counts beyond 65,535 such as {values.max():.0f}"
    kind = "log-transformed" if values.max() < 20 else "normalised"
    return f"values such as {broken[0]:.4g}, as {kind} data do"


def checked_blocks(place: Place, cells: int = BLOCK_CELLS) -> Iterator[sp.csr_matrix]:
    """Yields the blocks of a place, each checked to be counts: all that reads counts goes here.

    A gene stands once in a cell, and the genes of a cell ascend. Counts of a gene that stands more
    often are checked first and then summed.

    Raises:
        UserError: a value or a sum is no count, or the matrix cannot be read.
    """
    for block in place.blocks(cells):
        try:
            check_counts(block.data)
            if not block.has_canonical_format:
                block = block.astype(np.int64)  # a copy: the numbers may be the user's own
                block.sum_duplicates()
                check_counts(block.data)
        except ValueError as error:
            raise UserError(
                f"File {place.file} holds values that are no counts ({place.name}: {error}): put "
                "the raw counts into X or a layer, or name their layer."
            ) from error
        yield block
