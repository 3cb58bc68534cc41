"""Opening the files that people have, and saying what is wrong where they cannot be opened."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import h5py  # type: ignore[import-untyped]

from hce.errors import UserError
from hce.inputs.links import check_links
from hce.inputs.tenx import is_folder, is_h5

Kind = Literal["h5ad", "zarr", "10x h5", "10x folder"]
ZARR_FILES = (".zgroup", ".zattrs", ".zmetadata", "zarr.json")
# What a file of another format begins with, and what to do with it.
_OTHER = {
    b"\x1f\x8b": "is compressed with gzip: unpack it with gunzip",
    b"PK\x03\x04": "is a zip archive: unpack it",
    b"RDX": "is a file of R: write it as h5ad with zellkonverter or SeuratDisk",
}
_LOCKED = (errno.EAGAIN, errno.EACCES, errno.ENOLCK)


def is_zarr(path: str | Path) -> bool:
    """Whether a path names a zarr folder (by its suffix, or a folder that is not one of 10x)."""
    path = Path(path)
    return path.suffix == ".zarr" or (path.is_dir() and not is_folder(path))


@contextmanager
def open_store(path: str | Path, mode: Literal["r", "r+"]) -> Iterator[Any]:
    """Opens an HDF5 or zarr file as a group.

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


def kind_of(path: str | Path, store: Any) -> Kind:
    """Of which format an open file or folder is.

    Args:
        path: where it lies.
        store: the group of HDF5 or zarr, None for a 10x folder.

    Raises:
        UserError: it is of a format that is not read; says what to do.
    """
    if store is None:
        return "10x folder"
    if not isinstance(store, h5py.Group):
        return "zarr"
    if is_h5(store):
        return "10x h5"
    if "mod" in store:
        names = ", ".join(store["mod"])
        raise UserError(
            f"File {path} is a MuData file with the modalities {names}: write the one of RNA as "
            "h5ad, as in mudata.read(…).mod['rna'].write_h5ad('rna.h5ad')."
        )
    if "row_attrs" in store:
        raise UserError(
            f"File {path} is a loom file: write it as h5ad with anndata (read_loom, write_h5ad)."
        )
    return "h5ad"


def check_readable(path: str | Path) -> None:
    """Checks that something is there and of a format that can be opened.

    Raises:
        UserError: it is not; names the fault.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"File {path} does not exist: correct its name.")
    if path.is_dir():
        if not is_folder(path) and not any((path / name).exists() for name in ZARR_FILES):
            raise UserError(
                f"Folder {path} is neither a zarr folder nor one of 10x with matrix.mtx, "
                "barcodes.tsv and features.tsv: name the file or folder of cells in it."
            )
        return
    with reading(str(path)), open(path, "rb") as file:
        start = file.read(8)
    for magic, what in _OTHER.items():
        if start.startswith(magic):
            raise UserError(f"File {path} {what}, and give the result.")


@contextmanager
def reading(file: str) -> Iterator[None]:
    """Whatever goes wrong inside is the file's fault.

    Raises:
        UserError: it is locked, may not be read, or cannot be read.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # h5py, zarr and anndata raise whatever their input provokes
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        if "lock" in reason and getattr(error, "errno", None) in _LOCKED:
            raise UserError(
                f"File {file} is locked: close the program that writes to it; where the file "
                "system knows no locks, set HDF5_USE_FILE_LOCKING=FALSE in the environment."
            ) from error
        if isinstance(error, PermissionError):
            raise UserError(
                f"File {file} may not be read by this user: ask its owner, or chmod u+r."
            ) from error
        raise UserError(
            f"File {file} cannot be read as h5ad, zarr or 10x ({reason:.200}): it is truncated, "
            "damaged or of another format; copy it again."
        ) from error
