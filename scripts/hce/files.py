"""Files that are complete or absent: write under a temporary name, then rename."""

import errno
import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from hce.errors import UserError

# A zip of ours may unpack to this many times its size, or to this many bytes where it is small.
UNPACKED_TIMES = 20
UNPACKED_BYTES = 64 * 2**20
# What the system says where a disk, a quota or an allowance is used up.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `target`; renames it to `target` when the block ends well.

    The block may create a file or a folder there. When it raises, nothing is left behind.
    An existing target is replaced.

    Raises:
        UserError: the disk is full.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, since many writers choose their format by it.
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.partial{target.suffix}")
    try:
        yield temporary
        if target.is_dir():
            shutil.rmtree(target)
        temporary.replace(target)
    except OSError as error:
        if error.errno in _FULL:
            raise UserError(
                f"There is no space left for {target} ({error.strerror or error}): make room and "
                "run again."
            ) from error
        raise
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def clear_partial(target: str | Path) -> None:
    """Removes what killed jobs left behind of a target; only where no other job writes it now."""
    target = Path(target)
    for left in target.parent.glob(f".{target.stem}.*.partial{target.suffix}"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


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
            "another file or was cut off; put the right file in its place or correct the checksum."
        )


def checksum_file(path: str | Path) -> Path:
    """Where the checksum of a file is recorded: beside it."""
    path = Path(path)
    return path.with_name(path.name + ".sha256")


def record_sha256(path: str | Path) -> None:
    """Records the checksum of a file in its `checksum_file`."""
    with atomic_path(checksum_file(path)) as temporary:
        temporary.write_text(sha256_of(path) + "\n", encoding="ascii")


def write_tsv(table: pd.DataFrame, path: str | Path) -> None:
    """Writes a tidy table as TSV, atomically; floats with 9 significant digits, missing as `NA`."""
    with atomic_path(path) as temporary:
        table.to_csv(
            temporary, sep="\t", index=False, float_format="%.9g", na_rep="NA", lineterminator="\n"
        )


def read_tsv(path: str | Path) -> pd.DataFrame:
    """Reads a table written by `write_tsv`; only `NA` and empty cells count as missing."""
    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=["NA", ""])


def check_unpacked(path: str | Path) -> None:
    """Checks, before anything of a zip file is unpacked, that it is not made to fill the memory.

    Raises:
        ValueError: it unpacks to far more than it is.
        zipfile.BadZipFile: it is no zip file.
    """
    size = Path(path).stat().st_size
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max(UNPACKED_BYTES, UNPACKED_TIMES * size):
        raise ValueError(f"{size:,} bytes would unpack to {unpacked:,}, as no model does")
