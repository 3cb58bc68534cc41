"""Describes the data of a run: cells, types, donors, studies and tissues of each set."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds

from hce.errors import UserError
from hce.sets import REFERENCE_SETS

# Quantity of the totals → column of the cell tables whose distinct values it counts.
COUNTED = {
    "types": "label",
    "donors": "donor",
    "studies": "study",
    "tissues": "tissue_general",
}
# Column of `types` → column of the cell tables whose distinct values in training it counts.
SPREAD = {
    "train_studies": "study",
    "train_tissues": "tissue_general",
    "train_assays": "assay",
}
# Limits the memory; it does not affect the counts.
BATCH = 1 << 20


def describe(
    cells: Sequence[str | Path], types: pd.DataFrame, hierarchy_types: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Summarises the cell tables of a run in one pass.

    Args:
        cells: cell tables (Parquet), one per release, the reference release first.
        types: the types with their training cells, counted before the split is cut to a multiple:
            cl_id, train_cells.
        hierarchy_types: `Hierarchy.types`.

    Returns:
        `totals`: set, cells, types, donors, studies, tissues (distinct `tissue_general`); the
            last row, `reference`, is train, val and id together, if there are any.
        `tissues`: set, tissue_general, cells; sorted by decreasing number of cells within a set.
        `types`: index, cl_id, label, kind, connected, depth, parents (cl_ids separated by ";"),
            train_cells, train_studies, train_tissues, train_assays (distinct values among the
            training cells of the type), and cells_<set> for each set.

    Raises:
        UserError: `types` are not the types of the hierarchy.
    """
    if set(types["cl_id"]) != set(hierarchy_types["cl_id"]):
        odd = sorted(set(types["cl_id"]) ^ set(hierarchy_types["cl_id"]))[0]
        raise UserError(
            f"Type {odd} is in the hierarchy or in the table of types, but not in both: delete "
            "the ontology and cells folders of the data and run again."
        )
    number, distinct, tissues, labels, spread = _count(cells)
    known = [name for name in REFERENCE_SETS if name in number]
    sets = known + [name for name in number if name not in REFERENCE_SETS]

    rows = [(name, number[name], *(len(distinct[name][q]) for q in COUNTED)) for name in sets]
    if known:
        union = (len(set().union(*(distinct[name][q] for name in known))) for q in COUNTED)
        rows.append(("reference", sum(number[name] for name in known), *union))

    by_tissue = [
        (name, tissue, count)
        for name in sets
        for tissue, count in sorted(tissues[name].items(), key=lambda item: (-item[1], item[0]))
    ]
    table = hierarchy_types[["index", "cl_id", "label", "kind", "connected", "depth"]].assign(
        parents=[";".join(parents) for parents in hierarchy_types["parents"]]
    )
    table = table.merge(types[["cl_id", "train_cells"]], on="cl_id", validate="1:1")
    for name, found in spread.items():
        of_type = Counter(label for label, _ in found)
        table[name] = [of_type[index] for index in table["index"]]
    for name in sets:
        table[f"cells_{name}"] = [labels[name].get(index, 0) for index in table["index"]]
    return {
        "totals": pd.DataFrame(rows, columns=["set", "cells", *COUNTED]),
        "tissues": pd.DataFrame(by_tissue, columns=["set", "tissue_general", "cells"]),
        "types": table,
    }


def _count(
    paths: Sequence[str | Path],
) -> tuple[
    dict[str, int],
    dict[str, dict[str, set[object]]],
    dict[str, dict[str, int]],
    dict[str, dict[int, int]],
    dict[str, set[tuple[int, str]]],
]:
    """Cells, distinct values of the counted columns, cells per tissue and per label of a set.

    The last item are the pairs of label and value in training, for each column of `SPREAD`.
    """
    number: dict[str, int] = defaultdict(int)
    distinct: dict[str, dict[str, set[object]]] = defaultdict(lambda: {q: set() for q in COUNTED})
    tissues: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    labels: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    spread: dict[str, set[tuple[int, str]]] = {name: set() for name in SPREAD}
    columns = ["set", *dict.fromkeys([*COUNTED.values(), *SPREAD.values()])]
    for path in paths:
        for batch in ds.dataset(path).to_batches(columns=columns, batch_size=BATCH):
            for key, part in batch.to_pandas().groupby("set", observed=True, sort=False):
                name = str(key)
                number[name] += len(part)
                for quantity, column in COUNTED.items():
                    distinct[name][quantity].update(part[column].unique())
                for column, counts in (("tissue_general", tissues), ("label", labels)):
                    sizes = part[column].value_counts()
                    for value, size in sizes[sizes > 0].items():
                        counts[name][value] += int(size)
                if name == "train":
                    for quantity, column in SPREAD.items():
                        pairs = part[["label", column]].drop_duplicates()
                        spread[quantity].update(pairs.itertuples(index=False, name=None))
    return number, distinct, tissues, labels, spread
