"""Files that are complete or absent: written under a temporary name, then renamed."""

import errno
import glob
import hashlib
import os
import platform
import re
import shutil
import tempfile
import zipfile
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from pyarrow.fs import LocalFileSystem

from hce.errors import UserError

# A zip file may unpack to this many times its size, or to this many bytes if it is small.
UNPACKED_TIMES = 20
UNPACKED_BYTES = 64 * 2**20
# Columns of tables that hold names, which may look like numbers: study 001, release 2024.10.
NAMES = ("release", "study", "stratum", "model", "loss", "set", "decoder", "cl_id")
# Part of names of temporary files, because only processes of this machine can be checked.
HOST = re.sub(r"[^A-Za-z0-9-]", "-", platform.node())
# Error numbers of a full disk, quota or allowance.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Of a file system without hard links.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
# Messages of NumPy and torch about a full disk.
_CUT_OFF = re.compile(r"\d+ requested and \d+ written|unexpected pos \d+ vs \d+|file write failed")


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yields a temporary path next to `target`; renames it to `target` at the end of the block.

    The block can create a file or a folder there. If it raises, nothing is left behind. Temporary
    files that a killed process of this machine left for the same target are removed. An existing
    target is replaced.

    Raises:
        UserError: the disk is full.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    _clear_dead(target)
    temporary = _temporary(target)
    _remove(temporary)
    try:
        with explaining_full_disk(target):
            yield temporary
            _put(temporary, target)
    finally:
        _remove(temporary)


@contextmanager
def scratch_folder(target: str | Path) -> Iterator[Path]:
    """Yields a temporary folder next to `target`, for use while it is made; removes it."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    _clear_dead(target)
    folder = _temporary(target, ".scratch")
    _remove(folder)
    folder.mkdir()
    try:
        yield folder
    finally:
        _remove(folder)


@contextmanager
def explaining_full_disk(path: str | Path) -> Iterator[None]:
    """Turns errors about a full disk into a sentence that names the path.

    Raises:
        UserError: the disk, a quota or an allowance is full.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if (reason := _why_full(error)) is None:
            raise
        raise UserError(
            f"There is no space left for {path} ({reason}): make room and run again."
        ) from error


def _why_full(error: BaseException) -> str | None:
    """The reason, if an error is about a full disk; HDF5, Arrow, NumPy and torch use words."""
    number = getattr(error, "errno", None)
    if number is None and (said := re.search(r"errno = (\d+)", str(error))):
        number = int(said.group(1))
    if number in _FULL:
        return os.strerror(number)
    if _CUT_OFF.search(str(error)):
        return "it could not be written whole"
    return next((os.strerror(n) for n in _FULL if os.strerror(n) in str(error)), None)


def _temporary(target: Path, suffix: str | None = None) -> Path:
    """A path next to a target, with the machine and the process that use it in its name."""
    # The suffix stays last, because many writers choose their format by it.
    suffix = target.suffix if suffix is None else suffix
    return target.with_name(f".{target.name}.{HOST}.{os.getpid()}.partial{suffix}")


def _put(temporary: Path, target: Path) -> None:
    """Renames a complete file or folder to its target."""
    if target.is_symlink() and target.is_dir():
        target.unlink()
    if target.is_dir():
        old = temporary.with_name(temporary.name + ".old")
        target.rename(old)
        temporary.rename(target)
        shutil.rmtree(old)
    else:
        temporary.replace(target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def create_once(target: str | Path, content: str) -> bool:
    """Writes a small file unless it exists; of several processes, also of machines, one writes it.

    The file appears with its content. On file systems without hard links it can be seen empty for a
    moment.

    Returns:
        Whether this call made the file.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=target.parent, prefix=f".{target.name}-") as own:
        own.write(content)
        own.flush()
        os.fchmod(own.fileno(), 0o644)
        os.fsync(own.fileno())  # other machines must not see the name before the content
        try:
            os.link(own.name, target)  # a link replaces nothing
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _create_in_place(target, content)
    return True


def _create_in_place(target: Path, content: str) -> bool:
    try:
        with open(target, "x") as own:
            own.write(content)
    except FileExistsError:
        return False
    return True


def clear_partial(target: str | Path) -> None:
    """Removes temporary files of killed jobs; only while no other job writes the target."""
    for left in _left_of(Path(target)):
        _remove(left)


def _clear_dead(target: Path) -> None:
    """Removes temporary files of a target that ended processes of this machine left behind."""
    for left, (host, process) in _left_of(target).items():
        if host == HOST and not _runs(int(process)):
            _remove(left)


def _left_of(target: Path) -> dict[Path, tuple[str, str]]:
    """Temporary files and folders of a target → their machine and process."""
    name = re.compile(rf"\.{re.escape(target.name)}\.([A-Za-z0-9-]*)\.(\d+)\.partial.*")
    # The folder can have very many files, most of them not hidden.
    hidden = target.parent.glob(f".{glob.escape(target.name)}.*")
    found = {path: name.fullmatch(path.name) for path in hidden}
    return {path: (match[1], match[2]) for path, match in found.items() if match}


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of somebody else
        return True
    return True


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def check_sha256(path: str | Path, expected: str | None, key: str) -> None:
    """Checks a file against the checksum that a config key gives; None is not compared.

    Raises:
        UserError: the file has another checksum.
    """
    if expected is not None and (found := sha256_of(path)) != expected:
        raise UserError(
            f"File {path} has sha256 {found}, but {key} in the config says {expected}: it is "
            "another file or was cut off; replace it by the right file or correct the checksum."
        )


def write_tsv(table: pd.DataFrame, path: str | Path) -> None:
    """Writes a tidy table as TSV, atomically; floats with 9 significant digits, missing as `NA`."""
    with atomic_path(path) as temporary:
        table.to_csv(
            temporary, sep="\t", index=False, float_format="%.9g", na_rep="NA", lineterminator="\n"
        )


def read_tsv(path: str | Path, text: Sequence[str] = ()) -> pd.DataFrame:
    """Reads a table written by `write_tsv`; only `NA` and empty cells count as missing.

    Args:
        path: the file.
        text: columns that are text, whatever they hold, beside those of `NAMES`.
    """
    types: dict[Hashable, type[str]] = dict.fromkeys((*NAMES, *text), str)
    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=["NA", ""], dtype=types)


def read_parquet(
    path: str | Path, columns: list[str] | None = None, filters: list | None = None
) -> pd.DataFrame:
    """Reads a table from a file that Arrow opens by itself.

    pandas would open it in Python. A buffer of such a file needs the interpreter when it is
    released, and if a thread of Arrow is the last to do so while a process ends, the process aborts
    with its work done.

    Args:
        path: a Parquet file.
        columns: those to read; None: all.
        filters: as `pandas.read_parquet` takes them.
    """
    system = LocalFileSystem()
    return pd.read_parquet(path, columns=columns, filters=filters, filesystem=system)  # noqa: TID251


def check_unpacked(path: str | Path) -> None:
    """Checks, before a zip file is unpacked, that it was not made to fill the memory.

    Raises:
        ValueError: it unpacks to far more than its size.
        zipfile.BadZipFile: it is not a zip file.
    """
    size = Path(path).stat().st_size
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max(UNPACKED_BYTES, UNPACKED_TIMES * size):
        raise ValueError(f"{size:,} bytes would unpack to {unpacked:,}, as no model does")


def check_members(path: str | Path) -> None:
    """Compares all that a zip file holds with its checksums; torch writes them and reads none.

    Raises:
        ValueError: something is not as it was written.
    """
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {damaged} in it is another than when it was written")
