"""The cells of an evaluation set and the strata that they are scored by."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import scipy.sparse as sp

from hce.curation.cells import terms_of
from hce.errors import UserError
from hce.files import read_parquet
from hce.store.categories import codes_of

# Columns of the cell tables that scores are stratified by.
STRATA = ("study", "tissue", "tissue_general", "disease", "assay")
# Those that the cells are grouped by: the counts by donor serve the bootstrap.
GROUPED = (*STRATA, "donor")
# Those of which a value may be new: the kind `<column>_seen` has the strata `seen` and `unseen`.
SEEN = ("tissue", "tissue_general", "disease")
SEEN_NAMES = ("seen", "unseen")
NOT_GIVEN = "not given"
# Bounds the memory; the size does not change the values.
BATCH = 1 << 20


@dataclass(frozen=True)
class SetCells:
    """The cells of an evaluation set, in the order of the store.

    Attributes:
        release: where they come from.
        soma_joinid: int64 (n,).
        group: int32 (n,), row of `groups`.
        groups: the combinations that occur of `GROUPED` (str) and leaky (bool, False without an
            audit), sorted.
    """

    release: str
    soma_joinid: np.ndarray
    group: np.ndarray
    groups: pd.DataFrame


def read_set_cells(paths: Sequence[str | Path], set_name: str) -> SetCells:
    """Reads which cells an evaluation set has and the strata of each.

    Args:
        paths: cell tables, one a release, each named `<release>.parquet`.
        set_name: the evaluation set.

    Raises:
        UserError: no table holds cells of that set, or two do.
    """
    frames = []
    release = ""
    for path in paths:
        # Cast before the filter: `set` is a dictionary column, whose dictionary may differ
        # between row groups.
        matches = ds.field("set").cast(pa.string()) == set_name
        table = ds.dataset(path).to_table(columns=["soma_joinid", *GROUPED], filter=matches)
        if table.num_rows:
            release = Path(path).stem
            frames.append(table.unify_dictionaries().to_pandas())
    if not frames:
        raise UserError(
            f"No cells of the evaluation set {set_name} in {', '.join(map(str, paths))}: make the "
            "cell tables again, or leave the set out."
        )
    if len(frames) > 1:
        raise UserError(
            f"The evaluation set {set_name} occurs in {len(frames)} of the cell tables "
            f"{', '.join(map(str, paths))}: each set belongs to one release."
        )
    frame = frames[0]
    codes = pd.DataFrame()
    names = {}
    for column in GROUPED:
        values = frame[column].astype("category").cat.remove_unused_categories()
        names[column] = sorted(values.cat.categories)
        ordered = values.cat.reorder_categories(names[column])
        codes[column] = codes_of(ordered, f"the evaluation set {set_name}")
    group, groups = _combinations(codes)
    for column in GROUPED:
        groups[column] = np.array(names[column], dtype=object)[groups[column]]
    ids = frame["soma_joinid"].to_numpy(np.int64)
    return SetCells(release, ids, group, groups.assign(leaky=False))


def _combinations(codes: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """Number of each row's combination, and the combinations in sorted order."""
    shape = [int(column.max()) + 1 for _, column in codes.items()]
    # One number for each combination, since grouping by many columns takes twice as long.
    key = np.zeros(len(codes), dtype=np.int64)
    for size, (_, column) in zip(shape, codes.items(), strict=True):
        key = key * size + column.to_numpy()
    number, found = pd.factorize(key, sort=True)
    values = np.unravel_index(found, shape)
    return number.astype(np.int32), pd.DataFrame(dict(zip(codes.columns, values, strict=True)))


def mark_leaky(path: str | Path, cells: SetCells) -> SetCells:
    """The same cells, grouped by what the audit of their set says as well.

    Args:
        path: the audit (Parquet): soma_joinid, leaky.
        cells: the cells of that set.

    Raises:
        UserError: the audit lists other cells, or in another order.
    """
    table = read_parquet(path, columns=["soma_joinid", "leaky"])
    if not np.array_equal(table["soma_joinid"], cells.soma_joinid):
        raise UserError(
            f"Audit {path} does not list the cells of the cell table in its order: delete it and "
            "run again."
        )
    codes = pd.DataFrame({"group": cells.group, "leaky": table["leaky"].to_numpy(bool)})
    group, combinations = _combinations(codes)
    groups = cells.groups.iloc[combinations["group"]].reset_index(drop=True)
    return replace(cells, group=group, groups=groups.assign(leaky=combinations["leaky"]))


def read_training_values(paths: Sequence[str | Path]) -> dict[str, set[str]]:
    """Reads which values of the columns `STRATA` the training cells have; diseases one by one.

    Args:
        paths: cell tables, one a release.
    """
    values: dict[str, set[str]] = {column: set() for column in STRATA}
    matches = ds.field("set").cast(pa.string()) == "train"
    for path in paths:
        scanner = ds.dataset(path).scanner(columns=list(STRATA), filter=matches, batch_size=BATCH)
        for batch in scanner.to_batches():
            for column in STRATA:
                found = batch.column(column).unique()
                for value in found.to_pylist():
                    values[column].update(_named(column, str(value)))
    return values


def _named(column: str, value: str) -> list[str]:
    """The strata of a value; `NA` and nothing, which tables read as missing, have a name."""
    return [NOT_GIVEN if term in ("NA", "") else term for term in terms_of(column, value)]


@dataclass(frozen=True)
class Strata:
    """The strata of one kind; only those with cells.

    Attributes:
        of_group: csr (groups, strata), an entry for each stratum of a row of `SetCells.groups`,
            which are several where its cells have several diseases.
        names: of the strata, sorted.
        in_training: bool (strata,), whether training cells are of the stratum.
    """

    of_group: sp.csr_matrix
    names: list[str]
    in_training: np.ndarray


def strata_of(groups: pd.DataFrame, training: dict[str, set[str]]) -> dict[str, Strata]:
    """The strata of each kind. Cells with several diseases are in the stratum of each of them.

    Args:
        groups: of `SetCells`.
        training: see `read_training_values`.

    Returns:
        Kind (a column of `STRATA`, then `<column>_seen` for those of `SEEN`) → its strata. Cells of
        which one disease is not in training are unseen.
    """
    strata = {}
    terms = {column: [_named(column, value) for value in groups[column]] for column in STRATA}
    for column in STRATA:
        names = sorted({term for some in terms[column] for term in some})
        known = np.array([name in training[column] for name in names], dtype=bool)
        strata[column] = Strata(_members(terms[column], names), names, known)
    for column in SEEN:
        seen = [[SEEN_NAMES[not training[column].issuperset(some)]] for some in terms[column]]
        names = sorted({name for (name,) in seen})
        known = np.array([name == SEEN_NAMES[0] for name in names], dtype=bool)
        strata[f"{column}_seen"] = Strata(_members(seen, names), names, known)
    return strata


def _members(strata: Sequence[Sequence[str]], names: Sequence[str]) -> sp.csr_matrix:
    """Which strata each group is of, csr (groups, strata)."""
    number = {name: i for i, name in enumerate(names)}
    pairs = [(row, number[name]) for row, some in enumerate(strata) for name in set(some)]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    ones = np.ones(len(pairs), dtype=bool)
    return sp.csr_matrix((ones, (rows, columns)), (len(strata), len(names)))
