"""The table of files that the pipeline annotates.

Imports little: Snakemake reads it at every start.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from hce.errors import UserError

REQUIRED = ("name", "file")
OPTIONAL = ("layer", "vote")


def read_annotation_manifest(path: str | Path | None) -> dict[str, dict[str, Any]]:
    """Reads the manifest of files to annotate.

    Args:
        path: TSV with the columns name and file, and any of layer and vote; None: no files.
            Files are looked for beside it.

    Returns:
        name → file (path) and options (layer, vote; those that are given).

    Raises:
        UserError: the table or a file of it is missing, or a name or a column is wrong.
    """
    if path is None:
        return {}
    path = Path(path)
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"Manifest {path} (annotate.manifest in the config) cannot be read as TSV: {error}."
        ) from error
    for column in REQUIRED:
        if column not in table:
            raise UserError(f"Manifest {path} has no column {column}: it needs name and file.")
    if unknown := [name for name in table if name not in (*REQUIRED, *OPTIONAL)]:
        raise UserError(
            f"Manifest {path} has a column {unknown[0]!r}; allowed: "
            f"{', '.join([*REQUIRED, *OPTIONAL])}."
        )
    found: dict[str, dict[str, Any]] = {}
    for row in table.to_dict("records"):
        name, file = row["name"], path.parent / row["file"]
        if name in found or not name or "/" in name:
            raise UserError(
                f"Manifest {path} has the name {name!r} twice, empty or with a slash: rename it."
            )
        if file.suffix != ".h5ad" or not file.is_file():
            raise UserError(f"Manifest {path} names {file}, which is no h5ad file: correct it.")
        options = {key: row[key] for key in OPTIONAL if row.get(key)}
        found[name] = {"file": str(file), "options": options}
    return found
