"""The table of cells: one row per cell of a release, with its type, study, donor and set.

As in the published code (microsoft/hce-classification, theislab/scTab), a study is a `dataset_id`
and a donor is a `dataset_id` with a `donor_id`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from hce.errors import UserError
from hce.files import read_parquet
from hce.store.categories import codes_of

# Columns of the tables of cells.
STRATA = ("tissue", "tissue_general", "disease", "assay")
CELL_COLUMNS = ["soma_joinid", "label", "study", "donor", "set", *STRATA]
# Between the diseases of a cell that has several, since dataset schema 7.0.0.
_AND = " || "
# Name of the table of cells in messages.
RELEASE = "the release's cells"


def read_release_cells(path: str | Path, without: Sequence[str] = ()) -> pd.DataFrame:
    """Reads the cells of a release (written by `census.read_cells`), strings as categories.

    Args:
        path: the table of cells.
        without: studies (dataset_ids) whose cells are not read, so that they take no memory.
    """
    study = ds.field("dataset_id").cast(pa.string())
    table = ds.dataset(path).to_table(filter=~study.isin(list(without)) if without else None)
    return table.unify_dictionaries().to_pandas(strings_to_categorical=True)


def terms_of(column: str, value: str) -> list[str]:
    """The terms that a value of one of `STRATA` stands for: a cell may have several diseases."""
    return value.split(_AND) if column == "disease" else [value]


def read_studies(datasets: Iterable[str | Path]) -> list[str]:
    """The dataset_ids of several releases together.

    Args:
        datasets: `datasets.parquet` of each release.
    """
    return sorted({name for path in datasets for name in read_parquet(path)["dataset_id"]})


def donor_of(cells: pd.DataFrame) -> np.ndarray:
    """Donor number of each cell, int64, numbered by first appearance.

    donor_id is unique only within a dataset, so the pair counts.

    Raises:
        UserError: a cell has no dataset or no donor.
    """
    studies, donors = (codes_of(cells[name], RELEASE) for name in ("dataset_id", "donor_id"))
    return pd.factorize(studies * len(cells["donor_id"].cat.categories) + donors)[0]


def label_cells(
    cells: pd.DataFrame, types: Sequence[str], column: str = "cell_type"
) -> pd.DataFrame:
    """Cells of the selected types with their type index; all columns of the table except `set`.

    Args:
        cells: the release's cells.
        types: what each type, in index order, is called in the column.
        column: the column that says the type of each cell.

    Raises:
        UserError: a cell has no label, a cell of the selected types lacks another value, or two
            donors have the same name.
    """
    index = pd.Index(types).get_indexer(cells[column].cat.categories)
    label = index[codes_of(cells[column], RELEASE)]
    kept = cells[label >= 0].reset_index(drop=True)
    for name in STRATA:
        codes_of(kept[name], RELEASE)
    # Names are joined once per donor and not once per cell.
    numbers = donor_of(kept)
    first = kept.iloc[np.unique(numbers, return_index=True)[1]]
    names = (first["dataset_id"].astype(str) + "_" + first["donor_id"].astype(str)).to_numpy()
    if len(set(names)) < len(names):
        twice = pd.Series(names)[pd.Series(names).duplicated()].iloc[0]
        raise UserError(f"Two donors are called {twice} (study_donor): rename a study or a donor.")
    return pd.DataFrame(
        {
            "soma_joinid": kept["soma_joinid"],
            "label": label[label >= 0].astype(np.int16),
            "study": kept["dataset_id"].cat.remove_unused_categories(),
            "donor": pd.Categorical(names, categories=names).take(numbers),
            **{name: kept[name] for name in STRATA},
        }
    )
