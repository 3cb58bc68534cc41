"""The split of the reference release into training, validation and test cells.

Follows the published code (microsoft/hce-classification, theislab/scTab) for details that the paper
does not give.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hce.curation.cells import CELL_COLUMNS, label_cells, terms_of
from hce.errors import UserError
from hce.store.categories import codes_of


@dataclass(frozen=True)
class Split:
    """The divided cells of the reference release.

    Attributes:
        cells: the cells in the order of the stores (train, val, id); columns soma_joinid, label
        (type
            index), study, donor, set, tissue, tissue_general, disease, assay.
        train_labels: type index of every training cell before the cut to a multiple.
        all_cells: int64 (types,), cells of each type before the cut.
        donors: int64 (types,), donors of each type.
        report: quantity, value.
    """

    cells: pd.DataFrame
    train_labels: np.ndarray
    all_cells: np.ndarray
    donors: np.ndarray
    report: pd.DataFrame


def split_units(units: np.ndarray, seed: int, val: float, test: float) -> dict[str, np.ndarray]:
    """Divides cells into train, val and id, keeping the cells of a unit together.

    As in the published code, the units, in order of first appearance, are shuffled by
    `default_rng(seed)`; of n units the last ceil(test n) are the test set, and the ceil(val n)
    before them the validation set. A new `default_rng(seed)` then permutes the cells of train, val
    and id, in this order.

    Args:
        units: int64 (cells), unit of each cell, numbered by first appearance.
        seed: seed of both generators.
        val: share of the units for validation.
        test: share of the units for testing.

    Returns:
        Positions of the cells of "train", "val" and "id" in their final order.
    """
    n = int(units.max()) + 1 if len(units) else 0
    order = np.arange(n)
    np.random.default_rng(seed).shuffle(order)
    n_val, n_test = math.ceil(val * n), math.ceil(test * n)
    bounds = {"train": (0, n - n_val - n_test), "val": (n - n_val - n_test, n - n_test)}
    bounds["id"] = (n - n_test, n)
    rng = np.random.default_rng(seed)
    parts = {}
    for name, (start, stop) in bounds.items():
        chosen = np.zeros(n, dtype=bool)
        chosen[order[max(start, 0) : max(stop, 0)]] = True
        parts[name] = rng.permutation(np.flatnonzero(chosen[units]))
    return parts


def split_reference(
    cells: pd.DataFrame, labels: Sequence[str], split: Mapping[str, float | int | str]
) -> Split:
    """Labels the reference release's cells and divides them into train, val and id.

    Args:
        cells: the release's primary cells of the selected assays.
        labels: labels of the types in index order.
        split: the config's `split` (unit, seed, val, test, multiple_of).

    Raises:
        UserError: a part is empty, or a type has no cells in the train part.
    """
    table = label_cells(cells, labels)
    if split["unit"] == "donor":
        units = codes_of(table["donor"], "the release's cells")  # numbered by first appearance
    else:
        units = np.arange(len(table))
    parts = split_units(units, int(split["seed"]), float(split["val"]), float(split["test"]))
    present = np.bincount(table["label"].to_numpy()[parts["train"]], minlength=len(labels)) > 0
    if not present.all():
        absent = [label for label, there in zip(labels, present, strict=True) if not there]
        raise UserError(
            f"The train part has no cells of {len(absent)} of the {len(labels)} types (the first "
            f"is {absent[0]}), so they cannot be learned: raise curation.min_donors, or change "
            "split.seed or split.unit."
        )
    multiple = int(split["multiple_of"])
    steps = _describe(table)
    train_labels = table["label"].to_numpy()[parts["train"]]
    pieces = []
    for name, rows in parts.items():
        kept = len(rows) // multiple * multiple
        steps += [(f"{name} cells before the cut", len(rows)), (f"{name} cells", kept)]
        if kept == 0:
            raise UserError(
                f"The {name} part has {len(rows):,} cells, fewer than split.multiple_of = "
                f"{multiple}: lower it, or change split.val, split.test or split.unit."
            )
        pieces.append(table.iloc[rows[:kept]].assign(set=name))
    result = pd.concat(pieces, ignore_index=True).astype({"set": "category"})
    steps.append(("cells after the cut", len(result)))
    pairs = table[["label", "donor"]].drop_duplicates()
    return Split(
        cells=result[CELL_COLUMNS],
        train_labels=train_labels,
        all_cells=np.bincount(table["label"], minlength=len(labels)),
        donors=np.bincount(pairs["label"], minlength=len(labels)),
        report=pd.DataFrame(steps, columns=["quantity", "value"]),
    )


def _describe(cells: pd.DataFrame) -> list[tuple[str, int]]:
    """Counts of the labelled cells, for the report."""
    pairs = cells[["tissue_general", "label"]].drop_duplicates()
    diseases = {term for value in cells["disease"].unique() for term in terms_of("disease", value)}
    return [
        ("cells of the types", len(cells)),
        ("donors", int(cells["donor"].nunique())),
        ("studies", int(cells["study"].nunique())),
        ("diseases", len(diseases)),
        ("pairs of tissue_general and type", len(pairs)),
        ("first soma_joinid of the types", int(cells["soma_joinid"].min())),
        ("last soma_joinid of the types", int(cells["soma_joinid"].max())),
    ]
