"""Model files that were fetched: kept in a cache and found there by name.

Models are listed in an index, a table with name, url (which may be relative to the index) and
sha256, such as the `models.tsv` that `list_models` makes.
"""

import difflib
import os
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import pandas as pd

from hce import checksums
from hce.download import download
from hce.errors import UserError
from hce.files import read_tsv, sha256_of

SUFFIX = ".hce"
INDEX_VARIABLE = "HCE_MODELS"
"""Variable of the environment that names an index."""
INDEX = ["name", "url", "sha256"]
# Seconds before the second try of a download.
WAIT = 5.0


def cache_folder() -> Path:
    """Where fetched models are: `hce/models` in the user's cache (XDG_CACHE_HOME)."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "hce", "models")


def find_model(model: str | Path) -> Path:
    """The file of a model: a path, or the name of a model in the cache.

    Raises:
        UserError: there is no such file and no such model in the cache.
    """
    path = Path(model)
    if path.is_file():
        return path
    cached = cache_folder() / f"{path.name.removesuffix(SUFFIX)}{SUFFIX}"
    if path.name == str(model) and cached.is_file():
        return cached
    held = sorted(file.stem for file in cache_folder().glob(f"*{SUFFIX}"))
    hint = _alike(path.name.removesuffix(SUFFIX), held)
    raise UserError(
        f"Model file {model} does not exist, and no fetched model has this name{hint}: correct it, "
        "or fetch the model with `hce models --get`."
    )


def fetch_model(wanted: str, index: str | None = None, sha256: str | None = None) -> Path:
    """Fetches a model into the cache, unless the same file is there.

    Args:
        wanted: its address, or its name in the index.
        index: path or address of the index; None: what `INDEX_VARIABLE` names.
        sha256: its checksum; None: that of the index, or, of an address, the one that was recorded
            when it was first fetched.

    Raises:
        UserError: the index does not have the name or cannot be read, the download fails or has
            another checksum, or the cache cannot be written.
    """
    url = wanted
    if "://" not in wanted:
        index = index or os.environ.get(INDEX_VARIABLE)
        if not index:
            raise UserError(
                f"{wanted} is not an address, and there is no index of models to look it up in: "
                f"name one with --index or {INDEX_VARIABLE}, or give the address of the file."
            )
        listed = read_index(index)
        if wanted not in listed:
            hint = _alike(wanted, list(listed))
            raise UserError(f"{index} has no model {wanted}{hint}: give a name that it lists.")
        url, own = listed[wanted]
        sha256 = sha256 or own
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
    if not name.endswith(SUFFIX):
        raise UserError(f"{url} is not the address of a model file: its name must end in {SUFFIX}.")
    path = cache_folder() / name
    if sha256 is not None and path.is_file() and sha256_of(path) == sha256:
        return path
    _prepare(path.parent)
    checksums.forget(path)
    download(url, path, sha256, WAIT, "--sha256" if "://" in wanted else str(index))
    checksums.record(path)
    return path


def read_index(place: str) -> dict[str, tuple[str, str]]:
    """Reads an index of models: name → its address and sha256.

    Args:
        place: path or address.

    Raises:
        UserError: it cannot be read, or is not an index.
    """
    with TemporaryDirectory() as folder:
        path = Path(place)
        if "://" in place:
            path = Path(folder, "models.tsv")
            download(place, path, None, WAIT)
        try:
            table = read_tsv(path, INDEX)
        except (OSError, ValueError) as error:
            raise UserError(
                f"The index of models {place} cannot be read ({str(error).splitlines()[0]}): "
                "correct its name."
            ) from error
    if list(table) != INDEX or table.isna().any(axis=None) or not table["name"].is_unique:
        raise UserError(
            f"{place} is not an index of models: it needs the columns {', '.join(INDEX)}, and one "
            "row per name."
        )
    base = place if "://" in place else path.resolve().as_uri()
    rows = table[INDEX].to_numpy(str).tolist()
    return {name: (urllib.parse.urljoin(base, url), sha256) for name, url, sha256 in rows}


def list_models(files: Sequence[str | Path]) -> pd.DataFrame:
    """The index of model files that lie beside it: name, url and sha256."""
    rows = [
        (Path(file).stem, urllib.parse.quote(Path(file).name), sha256_of(file)) for file in files
    ]
    return pd.DataFrame(rows, columns=INDEX)


def _alike(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 3, cutoff=0.5)
    return f" (did you mean {', '.join(close)}?)" if close else ""


def _prepare(folder: Path) -> None:
    """Makes the folder of the cache, and says what to do where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"The cache {folder} cannot be written ({error.strerror}): set XDG_CACHE_HOME to a "
            "folder that can, or download the file yourself and give its path."
        ) from error
