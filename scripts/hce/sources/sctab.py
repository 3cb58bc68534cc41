"""The published scTab store: the training data of the paper, already split and normalised.

Its layout (https://github.com/theislab/scTab, notebooks/store_creation): folders train, val and
test of Parquet files `part.<n>.parquet` in row groups of 1,024 cells, with X (list<float32>, all
genes, log1p of counts per 10,000), soma_joinid, and metadata as integer codes;
`categorical_lookup/<column>.parquet` (the label of each code), `var.parquet` (feature_id,
feature_name), `class_weights.npy`, `cell_type_hierarchy/child_matrix.npy` and
`augmentations.npy`.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit

from hce.curation.cells import CELL_COLUMNS
from hce.errors import UserError
from hce.files import atomic_path
from hce.ontology import Ontology
from hce.store.cell_store import CellStore, describe_store
from hce.store.counts import MAX_GENES, TARGET_TOTAL, Counts
from hce.store.shards import BATCH_CELLS, describe_shard, write_shard

logger = logging.getLogger(__name__)

# Sets, and their folders in the archive.
SETS = {"train": "train", "val": "val", "id": "test"}
# Columns of the table of cells, and the coded columns of the archive.
CODED = {
    "label": "cell_type",
    "study": "dataset_id",
    "donor": "tech_sample",
    "tissue": "tissue",
    "tissue_general": "tissue_general",
    "disease": "disease",
    "assay": "assay",
}
KIND = "log1p_cp10k"
# Rounding to float32 changes the total of a cell by much less.
TOTAL_TOLERANCE = 10.0


@dataclass(frozen=True)
class Archive:
    """An unpacked scTab store.

    Attributes:
        folder: its folder.
        genes: feature_id, feature_name, in the order of X.
        lookups: column of the table of cells → labels in the order of their codes.
        class_weights: float64 (C,), in the order of the codes of types.
        child_matrix: bool (C, C); [i, j] is True if type j is type i or a descendant of it.
    """

    folder: Path
    genes: pd.DataFrame
    lookups: Mapping[str, list[str]]
    class_weights: np.ndarray
    child_matrix: np.ndarray

    @property
    def types(self) -> list[str]:
        """Labels of the types in the order of their codes."""
        return self.lookups["label"]

    def augmentations(self) -> Path:
        """The file of augmentation vectors, float32 (vectors, genes).

        Raises:
            UserError: it is missing, or its vectors have other genes.
        """
        path = self.folder / "augmentations.npy"
        shape = _read_array(path, mmap_mode="r").shape
        if len(shape) != 2 or shape[1] != len(self.genes):
            raise UserError(f"{path} has the shape {shape}, but there are {len(self.genes)} genes.")
        return path

    def parts(self, name: str) -> list[Path]:
        """The Parquet files of one of `SETS`, in the order of their cells.

        Raises:
            UserError: there is none, or one has no number.
        """
        folder = self.folder / SETS[name]
        numbered = {}
        for path in folder.glob("*.parquet"):
            if (number := re.search(r"(\d+)\.parquet$", path.name)) is None:
                raise UserError(
                    f"{path} is not part of a scTab store: part.<n>.parquet is expected."
                )
            numbered[int(number[1])] = path
        if not numbered:
            raise UserError(
                f"The scTab store (data.sctab.archive) has no Parquet files in {folder}: unpack it "
                "again."
            )
        return [numbered[number] for number in sorted(numbered)]


def open_archive(folder: str | Path) -> Archive:
    """Opens an unpacked scTab store and checks that its tables fit together.

    Raises:
        UserError: a file is missing or unreadable, or the tables disagree on the number of types.
    """
    folder = Path(folder)
    var = _read_table(folder / "var.parquet", ["feature_id", "feature_name"])
    if not 0 < len(var) <= MAX_GENES:
        raise UserError(
            f"{folder / 'var.parquet'} has {len(var):,} genes; 1 to 65,536 are possible."
        )
    lookups = {}
    for column, name in CODED.items():
        table = _read_table(folder / "categorical_lookup" / f"{name}.parquet", ["label"])
        lookups[column] = table["label"].astype(str).tolist()
    weights = _read_array(folder / "class_weights.npy").astype(np.float64)
    matrix = _read_array(folder / "cell_type_hierarchy" / "child_matrix.npy") != 0
    number = len(lookups["label"])
    for name, array, shape in (
        ("class_weights.npy", weights, (number,)),
        ("cell_type_hierarchy/child_matrix.npy", matrix, (number, number)),
    ):
        if array.shape != shape:
            raise UserError(
                f"{folder / name} has the shape {array.shape}, but categorical_lookup/"
                f"cell_type.parquet has {number} types: the files belong to different stores."
            )
    return Archive(folder, var.astype(str), lookups, weights, matrix)


def _missing(path: Path, error: Exception) -> UserError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return UserError(f"The scTab store (data.sctab.archive) has no usable {path}: {reason}.")


def _read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        return pq.ParquetFile(path).read(columns).to_pandas()[columns].reset_index(drop=True)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise _missing(path, error) from error


def _read_array(path: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    try:
        return np.load(path, mmap_mode=mmap_mode)
    except (OSError, ValueError, EOFError) as error:
        raise _missing(path, error) from error


def identify_types(
    labels: list[str], known: Mapping[str, str], ontology: Ontology
) -> dict[str, str]:
    """Finds the CL ids of the types of the archive, which has only their labels.

    Args:
        labels: labels of the types.
        known: label → cl_id of the published types, which have precedence.
        ontology: the ontology in which the names of other types are searched.

    Returns:
        cl_id → label.

    Raises:
        UserError: a label is unknown, or two labels have the same id.
    """
    named = {name: cl_id for cl_id, name in ontology.names.items()}
    found: dict[str, str] = {}
    for label in labels:
        cl_id = known.get(label) or named.get(label)
        if cl_id is None:
            raise UserError(
                f"The scTab store has a type {label!r}, which is neither a published one nor a "
                f"name in ontology {ontology.version}: choose the ontology.release of its labels."
            )
        if found.setdefault(cl_id, label) != label:
            raise UserError(
                f"The scTab store has {cl_id} twice, as {found[cl_id]!r} and {label!r}."
            )
    return found


def read_cells(archive: Archive, name: str, labels: list[str]) -> pd.DataFrame:
    """The cells of one set, in the order of the archive.

    Args:
        archive: the store.
        name: one of `SETS`.
        labels: labels of the types in index order.

    Returns:
        `curation.cells.CELL_COLUMNS`.

    Raises:
        UserError: a file lacks a column, or a code has no label.
    """
    columns = ["soma_joinid", *CODED.values()]
    pieces: dict[str, list[np.ndarray]] = {column: [] for column in columns}
    for part in archive.parts(name):
        table = _read_table(part, columns)
        pieces["soma_joinid"].append(table["soma_joinid"].to_numpy(np.int64))
        for column, coded in CODED.items():
            codes = table[coded].to_numpy()
            bad = (codes < 0) | (codes >= len(archive.lookups[column]))
            if bad.any():
                raise UserError(
                    f"{part} has the code {codes[np.argmax(bad)]} in {coded}, which categorical_"
                    f"lookup/{coded}.parquet ({len(archive.lookups[column])} labels) does not have."
                )
            pieces[coded].append(codes.astype(np.int32))
    cells: dict[str, Any] = {"soma_joinid": np.concatenate(pieces["soma_joinid"])}
    for column, coded in CODED.items():
        joined: Any = np.concatenate(pieces.pop(coded))
        if column == "label":
            index = {label: i for i, label in enumerate(labels)}
            cells[column] = np.array([index[label] for label in archive.types], np.int16)[joined]
        else:
            cells[column] = pd.Categorical.from_codes(joined, pd.Index(archive.lookups[column]))
    return pd.DataFrame(cells).assign(set=name).astype({"set": "category"})[CELL_COLUMNS]


def write_set(
    archive: Archive,
    name: str,
    cells: pd.DataFrame,
    path: str | Path,
    provenance: Mapping[str, Any],
    threads: int = 1,
) -> CellStore:
    """Makes the cell store of one set, with one shard per file of the archive.

    Each thread has one row group (80 MB with 19,331 genes) in memory.

    Args:
        archive: the store.
        name: one of `SETS`.
        cells: its cells, see `read_cells`.
        path: folder of the cell store; complete or absent.
        provenance: provenance for the manifest.
        threads: number of files converted at a time.

    Raises:
        UserError: the values are not log1p of counts per 10,000, a row does not have all genes, or
            the files have other cells than the table.
    """
    ids = cells["soma_joinid"].to_numpy()
    parts = archive.parts(name)
    sizes = [pq.read_metadata(part).num_rows for part in parts]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    if starts[-1] != len(ids):
        raise UserError(
            f"{archive.folder / SETS[name]} has {starts[-1]:,} cells, but {len(ids):,} were "
            "listed before: do not change the folder while it is read, and run again."
        )
    with atomic_path(path) as folder:
        folder.mkdir()

        def convert(number: int) -> dict[str, Any]:
            file = f"shard-{number:05d}.arrow"
            blocks = _blocks(parts[number], ids[starts[number] : starts[number + 1]], archive.genes)
            size = write_shard(folder / file, blocks, KIND)
            logger.info("%s: %d cells", parts[number].name, size)
            return describe_shard(folder / file, size)

        with ThreadPoolExecutor(threads) as pool:
            shards = list(pool.map(convert, range(len(parts))))
        describe_store(folder, KIND, cells, archive.genes, shards, provenance)
    return CellStore.open(path)


def _blocks(
    part: Path, ids: np.ndarray, genes: pd.DataFrame
) -> Iterator[tuple[np.ndarray, Counts]]:
    """Yields soma_joinids and non-zeros of a Parquet file, one row group at a time."""
    file = pq.ParquetFile(part)
    kind = file.schema_arrow.field("X").type if "X" in file.schema_arrow.names else None
    if kind is None or not pa.types.is_list(kind) or not pa.types.is_float32(kind.value_type):
        raise UserError(f"{part} has no column X of type list<float32>: it is not a scTab store.")
    start = 0
    columns = ["soma_joinid", "X"]
    for batch in file.iter_batches(BATCH_CELLS, columns=columns, use_threads=False):
        keys = batch.column("soma_joinid").to_numpy()
        if not np.array_equal(keys, ids[start : start + len(keys)]):
            raise UserError(f"{part} changed while it was read: run again.")
        start += len(keys)
        rows = batch.column("X")
        lengths = np.diff(rows.offsets.to_numpy())
        if (lengths != len(genes)).any():
            raise UserError(
                f"{part} has a cell with {lengths[np.argmax(lengths != len(genes))]} values in X, "
                f"but var.parquet has {len(genes)} genes."
            )
        dense = rows.flatten().to_numpy(zero_copy_only=False).reshape(len(keys), len(genes))
        yield keys, _sparse(part, keys, dense)


def _sparse(part: Path, keys: np.ndarray, dense: np.ndarray) -> Counts:
    """Non-zeros of dense rows, float32 (cells, genes), checked to be log1p of counts per 10,000."""
    limit = np.float32(np.log1p(TARGET_TOTAL) + 1e-4)
    wanted = "data.sctab.archive must be the sf-log1p store"
    indptr = np.zeros(len(keys) + 1, dtype=np.int64)
    bad = _count(dense, limit, indptr)
    if bad >= 0:
        value, cell = dense.ravel()[bad], keys[bad // dense.shape[1]]
        raise UserError(
            f"{part} has {value} for cell {cell}, but log1p of counts per 10,000 is "
            f"between 0 and {limit:.2f}: {wanted}."
        )
    np.cumsum(indptr, out=indptr)
    genes = np.empty(indptr[-1], dtype=np.uint16)
    values = np.empty(indptr[-1], dtype=np.float32)
    totals = np.empty(len(keys))
    _gather(dense, indptr, genes, values, totals)
    odd = (np.abs(totals - TARGET_TOTAL) > TOTAL_TOLERANCE) & (np.diff(indptr) > 0)
    if odd.any():
        row = int(np.argmax(odd))
        raise UserError(
            f"{part}: the values of cell {keys[row]} are not log1p of counts per 10,000 (they add "
            f"up to {totals[row]:,.0f}): {wanted}."
        )
    return Counts(indptr, genes, values)


@njit(nogil=True, cache=True)
def _count(dense: np.ndarray, limit: np.float32, indptr: np.ndarray) -> int:
    """Counts the non-zeros of row i in indptr[i + 1]; returns the position of a bad value or −1."""
    for i in range(dense.shape[0]):
        found = 0
        for j in range(dense.shape[1]):
            value = dense[i, j]
            if not (value >= 0.0 and value <= limit):  # also if it is NaN
                return i * dense.shape[1] + j
            if value != 0.0:
                found += 1
        indptr[i + 1] = found
    return -1


@njit(nogil=True, cache=True)
def _gather(
    dense: np.ndarray,
    indptr: np.ndarray,
    genes: np.ndarray,
    values: np.ndarray,
    totals: np.ndarray,
) -> None:
    """Copies the non-zeros and sums their values before log1p."""
    for i in range(dense.shape[0]):
        k = indptr[i]
        total = 0.0
        for j in range(dense.shape[1]):
            value = dense[i, j]
            if value != 0.0:
                genes[k] = j
                values[k] = value
                total += np.expm1(np.float64(value))
                k += 1
        totals[i] = total
