"""Files that are complete or absent: write under a temporary name, then rename."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `target`; renames it to `target` when the block ends well.

    The block may create a file or a folder there. When it raises, nothing is left behind.
    An existing target is replaced.
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
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_tsv(table: pd.DataFrame, path: str | Path) -> None:
    """Writes a tidy table as TSV, atomically; floats with 9 significant digits, missing as `NA`."""
    with atomic_path(path) as temporary:
        table.to_csv(
            temporary, sep="\t", index=False, float_format="%.9g", na_rep="NA", lineterminator="\n"
        )


def read_tsv(path: str | Path) -> pd.DataFrame:
    """Reads a table written by `write_tsv`; only `NA` and empty cells count as missing."""
    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=["NA", ""])
