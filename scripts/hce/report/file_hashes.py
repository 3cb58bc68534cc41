"""What the files were that a run was given."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from hce.files import sha256_of


def hash_files(inputs: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Hashes the files that a run was given.

    Args:
        inputs: name of an input → its files; a folder means all files in it.

    Returns:
        input, file, bytes, sha256.
    """
    rows = []
    for name, paths in inputs.items():
        for path in map(Path, paths):
            inside = (file for file in path.rglob("*") if file.is_file())
            for file in sorted(inside) if path.is_dir() else [path]:
                rows.append((name, str(file), file.stat().st_size, sha256_of(file)))
    return pd.DataFrame(rows, columns=["input", "file", "bytes", "sha256"])
