"""Unpacks the published scTab store."""

import shutil
import tarfile
from pathlib import Path

from hce.errors import UserError
from hce.files import atomic_path


def unpack(archive: str | Path, folder: str | Path) -> None:
    """Unpacks a tar file (gzip or plain) with a store at any depth; complete or absent.

    Args:
        archive: the file.
        folder: the folder to make, with var.parquet in it.

    Raises:
        UserError: the file cannot be read to its end, or has no scTab store.
    """
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        try:
            with tarfile.open(archive, "r|*") as tar:
                _extract_files(tar, temporary)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise UserError(
                f"{archive} (data.sctab.archive) cannot be unpacked: {error}; it may be cut off, "
                "or the disk is full."
            ) from error
        found = sorted(temporary.rglob("var.parquet"), key=lambda path: len(path.parts))
        if not found:
            raise UserError(f"{archive} (data.sctab.archive) has no scTab store (no var.parquet).")
        if found[0].parent != temporary:
            inner = temporary.with_name(f"{temporary.name}.inner")
            shutil.move(found[0].parent, inner)
            shutil.rmtree(temporary)
            inner.rename(temporary)


def _extract_files(tar: tarfile.TarFile, folder: Path) -> None:
    """Copies the plain files; the filter for safe members of tarfile exists since Python 3.11.4."""
    for member in tar:
        target = (folder / member.name).resolve()
        if not target.is_relative_to(folder.resolve()):
            raise tarfile.TarError(f"{member.name} would be outside of the folder")
        content = tar.extractfile(member)
        if content is not None and member.isfile():
            target.parent.mkdir(parents=True, exist_ok=True)
            with content, target.open("wb") as file:
                shutil.copyfileobj(content, file)
