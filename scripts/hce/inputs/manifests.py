"""Tables of files: those that a run trains on, and those that it annotates.

Imports little: Snakemake reads them at every start.
"""

import csv
import re
from pathlib import Path
from typing import Any

import pandas as pd

from hce.errors import UserError

REQUIRED = ("name", "file")
OPTIONAL = ("layer", "vote")
NAME = re.compile(r"\w[\w .-]{0,99}")


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
        if not NAME.fullmatch(name):
            raise UserError(
                f"Manifest {path} has the name {name!r}, which becomes a file's: write it with "
                "letters, digits, spaces and . _ - only, 100 at most."
            )
        if name in found:
            raise UserError(f"Manifest {path} has the name {name!r} twice: rename one.")
        of_10x = file.is_dir() and any(file.glob("*matrix.mtx*"))
        if not (of_10x or (file.suffix in (".h5ad", ".h5") and file.is_file())):
            raise UserError(
                f"Manifest {path} names {file}, which is not an h5ad file, nor a file or folder of "
                "10x: correct it. (A zarr is annotated by `hce annotate`.)"
            )
        options = {key: row[key] for key in OPTIONAL if row.get(key)}
        found[name] = {"file": str(file), "options": options}
    return found


def files_of_manifest(manifest: str | Path, folder: str | Path) -> list[str]:
    """The files and mapping tables that a manifest of studies names, so that a change is noticed.

    Args:
        manifest: TSV with the columns file and mapping; mapping tables lie beside it.
        folder: where the files of cells lie.

    Returns:
        Those that exist, sorted; of folders all files. Missing ones are left to
        `sources.h5ad.read_manifest`, which says in one sentence what is wrong.
    """
    manifest = Path(manifest)
    if not manifest.is_file():
        return []
    with open(manifest, encoding="utf-8", errors="replace") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t", restval=""))
    named = [Path(folder) / row["file"] for row in rows if row.get("file")]
    named += [manifest.parent / row["mapping"] for row in rows if row.get("mapping")]
    files = [file for path in named for file in (path.rglob("*") if path.is_dir() else [path])]
    return sorted({str(file) for file in files if file.is_file()})


def missing_studies(manifest: str | Path, folder: str | Path) -> list[str]:
    """The studies of a manifest whose file is not in the folder.

    Args:
        manifest: TSV with the columns study and file.
        folder: where the files of cells lie.
    """
    with open(manifest, encoding="utf-8", errors="replace") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t", restval=""))
    return [row["study"] for row in rows if not (Path(folder) / row["file"]).exists()]


def read_originals(path: str | Path) -> dict[str, dict[str, str]]:
    """Reads where the public originals of studies are.

    Args:
        path: TSV with the columns study, part and url.

    Returns:
        Study → name of each part → its address.

    Raises:
        UserError: a column is missing, or a part stands twice.
    """
    with open(path, encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t", restval=""))
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        if missing := [name for name in ("study", "part", "url") if not row.get(name)]:
            raise UserError(f"Table {path} of originals lacks a {missing[0]} in a row: fill it in.")
        parts = found.setdefault(row["study"], {})
        if row["part"] in parts:
            raise UserError(f"Table {path} has {row['part']} of {row['study']} twice: remove one.")
        parts[row["part"]] = row["url"]
    return found
