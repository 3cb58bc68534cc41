"""Links in a user's file: none may lead out of it, to what would then be read or written."""

import os
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]

from hce.errors import UserError


def check_links(path: str | Path, group: Any) -> None:
    """Checks that an open HDF5 file or zarr folder holds all that it names.

    Args:
        path: the file or folder.
        group: its root.

    Raises:
        UserError: a link leads out of it; names it.
    """
    if isinstance(group, h5py.Group):
        _check_hdf5(path, group, set())
    else:
        _check_folder(path, Path(path).resolve(), str(path))


def check_own(path: str | Path, group: Any, names: tuple[str, ...]) -> None:
    """Checks that some members of an HDF5 group are its own: what is written there stays there.

    Raises:
        UserError: one is a link to another place.
    """
    if not isinstance(group, h5py.Group):
        return  # in zarr folders only symbolic links could be, which are copied as what they are of
    for name in names:
        if name in group and not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise UserError(
                f"File {path} has a link in place of {name}: read and write it once with anndata, "
                "or write a table."
            )


def _check_hdf5(path: str | Path, group: Any, seen: set[int]) -> None:
    for name in group:
        link = group.get(name, getlink=True)
        place = f"{group.name.rstrip('/')}/{name}"
        if isinstance(link, h5py.ExternalLink):
            raise _leaves(path, place, link.filename)
        if not isinstance(link, h5py.HardLink):
            continue  # to another place of the same file, where it is met again
        member = group[name]
        address = h5py.h5o.get_info(member.id).addr
        if address in seen:
            continue
        seen.add(address)
        if isinstance(member, h5py.Group):
            _check_hdf5(path, member, seen)
        elif isinstance(member, h5py.Dataset) and (member.external or member.is_virtual):
            raise _leaves(path, place, "values in other files")


def _check_folder(path: str | Path, root: Path, folder: str) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                target = Path(entry.path).resolve()
                inside = target.is_relative_to(root) and not root.is_relative_to(target)
                if not inside or not target.exists():
                    raise _leaves(path, os.path.relpath(entry.path, path), str(target))
            elif entry.is_dir():
                _check_folder(path, root, entry.path)


def _leaves(path: str | Path, place: str, target: str) -> UserError:
    return UserError(
        f"File {path} has a link in it that leads out of it ({place} to {target}): put what it "
        "leads to in its place."
    )
