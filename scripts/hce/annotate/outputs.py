"""Writes annotations to a copy of the user's file, or as a table."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import write_elem

from hce.annotate.labels import is_own
from hce.annotate.run import OBSM_KEY, UNS_KEY, Annotation
from hce.errors import UserError
from hce.files import atomic_path
from hce.inputs.cells import open_cells
from hce.inputs.links import check_own
from hce.inputs.opening import is_zarr, kind_of, open_store

TABLES = (".tsv", ".parquet")


def check_output(source: str | Path, out: str | Path, force: bool = False) -> None:
    """Checks before the work begins that an output can be written.

    Args:
        source: the input.
        out: the output.
        force: whether an existing folder that is not ours may be replaced.

    Raises:
        UserError: its format is unknown or not one for the input, it is the input or
            lies in it, or it would replace a folder.
    """
    source, out = Path(source), Path(out)
    own = ".zarr" if is_zarr(source) else ".h5ad"
    if out.suffix not in (own, *TABLES):
        raise UserError(
            f"Output {out} must end in {own} for this input, or in {' or '.join(TABLES)}."
        )
    check_apart(source, out)
    if out.is_dir() and not force and not _is_ours(out):
        raise UserError(
            f"Output {out} is an existing folder without an annotation of ours, and would be "
            "deleted: choose another name, or give --force."
        )


def check_apart(source: str | Path, out: str | Path) -> None:
    """Checks that something that is written is not an input, nor in it, nor around it.

    Raises:
        UserError: it is.
    """
    source, out = Path(source), Path(out)
    if out.exists() and source.exists() and os.path.samefile(source, out):
        raise UserError(
            f"Output {out} is the input file, which is never altered: choose another name."
        )
    there, here = source.resolve(), out.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        inside = "lies in" if here.is_relative_to(there) else "would replace"
        raise UserError(
            f"Output {out} {inside} the input {source}, which is never altered: choose another "
            "place."
        )


def _is_ours(folder: Path) -> bool:
    """Whether a folder is a zarr that an annotation was written to."""
    try:
        with open_store(folder, "r") as store:
            return UNS_KEY in store["uns"]
    except Exception:  # zarr raises whatever its input provokes
        return False


def write_annotation(source: str | Path, out: str | Path, annotation: Annotation) -> None:
    """Writes an annotation; the output is complete or absent.

    Args:
        source: the annotated file; the annotation is added to a copy of it.
        out: .h5ad or .zarr like the source, or a table: .tsv or .parquet.
        annotation: what to write; tables have a column cell (the index of obs), the columns of
            obs, and the probabilities by CL id, if there are any.

    Raises:
        UserError: the disk is full, the format of the file cannot be extended, or the file has
            links where the annotation would go.
    """
    out = Path(out)
    with atomic_path(out) as temporary:
        if out.suffix in TABLES:
            _write_table(temporary, annotation)
            return
        if is_zarr(source):
            _copy_folder(source, temporary)
        elif not _is_h5ad(source):
            _as_h5ad(source, temporary, annotation.uns["counts"])
        else:
            shutil.copyfile(source, temporary)
            _reserve(temporary, _size(annotation))
        with open_store(temporary, "r+") as store:
            _add(store, annotation, str(source))
        if out.suffix == ".zarr":
            _consolidate(temporary)


def _copy_folder(source: str | Path, target: Path) -> None:
    """Copies a folder, but not who may write to it: a copy of a read-only one can be written to."""
    for folder, _, files in os.walk(source, followlinks=True):
        inside = target / os.path.relpath(folder, source)
        inside.mkdir()
        for name in files:
            shutil.copyfile(Path(folder, name), inside / name)


def _is_h5ad(source: str | Path) -> bool:
    """Whether a file that was annotated is an h5ad, and not of 10x."""
    if Path(source).is_dir():
        return False
    with open_store(source, "r") as store:
        return kind_of(source, store) == "h5ad"


def _as_h5ad(source: str | Path, target: Path, name: str) -> None:
    """Writes the cells of a file of 10x as h5ad; they are in memory meanwhile."""
    from anndata import AnnData

    with open_cells(source) as cells:
        place = cells.places[name]
        counts = sp.vstack(list(place.blocks()), format="csr")
        AnnData(counts, obs=cells.obs, var=place.var).write_h5ad(target)


def _size(annotation: Annotation) -> int:
    """An upper estimate of the bytes that an annotation takes in a file."""
    columns = int(annotation.obs.memory_usage(deep=True).sum())
    probabilities = 0 if annotation.probabilities is None else annotation.probabilities.nbytes
    return columns + probabilities + len(str(annotation.uns)) + 2**20


def _reserve(path: Path, size: int) -> None:
    """Makes sure that a file can grow: HDF5 crashes if the disk is full while it writes."""
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            end = file.seek(0, os.SEEK_END)
            os.posix_fallocate(file.fileno(), end, size)
            file.truncate(end)


def _add(store: Any, annotation: Annotation, source: str) -> None:
    check_own(source, store, ("obs", "uns", "obsm"))
    obs = store["obs"]
    if "column-order" not in obs.attrs:
        raise UserError(
            f"File {source} has a format before anndata 0.7, which cannot be extended: read and "
            "write it once with a current anndata, or write a table."
        )
    order = [str(name) for name in obs.attrs["column-order"]]
    for name in [name for name in order if is_own(name)]:
        del obs[name]
        order.remove(name)
    for new in map(str, annotation.obs):
        column = annotation.obs[new]
        write_elem(obs, new, column.array if column.dtype == "category" else column.to_numpy())
        order.append(new)
    obs.attrs["column-order"] = order if is_zarr_group(store) else np.array(order, dtype=object)
    for group in ("uns", "obsm"):
        if group not in store:
            write_elem(store, group, {})
    for group, key in (("uns", UNS_KEY), ("obsm", OBSM_KEY)):
        if key in store[group]:
            del store[group][key]
    write_elem(store["uns"], UNS_KEY, {k: _storable(v) for k, v in annotation.uns.items()})
    if annotation.probabilities is not None:
        write_elem(store["obsm"], OBSM_KEY, np.asarray(annotation.probabilities))


def is_zarr_group(store: Any) -> bool:
    """Whether an open group is a group of zarr (otherwise of HDF5)."""
    return type(store).__module__.startswith("zarr")


def _storable(value: Any) -> Any:
    """Lists as arrays of text, as the formats store them."""
    return np.array(value, dtype=object) if isinstance(value, list) else value


def _consolidate(path: Path) -> None:
    """Updates the consolidated metadata of a zarr folder, if it has them."""
    import zarr

    had = (path / ".zmetadata").exists()
    metadata = path / "zarr.json"
    had |= metadata.exists() and '"consolidated_metadata"' in metadata.read_text(encoding="utf-8")
    if had:
        zarr.consolidate_metadata(str(path))


def _write_table(path: Path, annotation: Annotation) -> None:
    table = annotation.obs
    if annotation.probabilities is not None:
        names = list(annotation.uns["type_ids"])
        found = pd.DataFrame(annotation.probabilities, index=table.index, columns=names)
        table = pd.concat([table, found], axis=1)
    table = table.rename_axis("cell").reset_index()
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_csv(
            path, sep="\t", index=False, float_format="%.6g", na_rep="NA", lineterminator="\n"
        )
