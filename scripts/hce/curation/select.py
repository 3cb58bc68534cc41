"""Which types, which genes, which cells, and which part each cell belongs to.

Follows the published code (microsoft/hce-classification, theislab/scTab) where it says more than
the paper: a study is a `dataset_id`, a donor is a `dataset_id` with a `donor_id`.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from hce.errors import UserError
from hce.ontology import Ontology

logger = logging.getLogger(__name__)

# Columns of the tables of cells.
CELL_COLUMNS = [
    *("soma_joinid", "label", "study", "donor", "set"),
    *("tissue", "tissue_general", "disease", "assay"),
]


@dataclass(frozen=True)
class TypeCriteria:
    """What a type must fulfil in the reference release.

    Attributes:
        root: id of the term that it must descend from.
        min_cells: cells, reached.
        min_donors: donors, exceeded.
        min_ancestors: strict ancestors in the ontology, exceeded.
    """

    root: str
    min_cells: int
    min_donors: int
    min_ancestors: int


@dataclass(frozen=True)
class Split:
    """The reference release's cells, divided.

    Attributes:
        cells: in the order of the stores (train, val, id); columns soma_joinid, label (type
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


def read_release_cells(path: str | Path) -> pd.DataFrame:
    """Reads the cells of a release (written by `census.read_cells`), strings as categories."""
    return pq.read_table(path).to_pandas(strings_to_categorical=True)


def donor_of(cells: pd.DataFrame) -> np.ndarray:
    """Donor number of each cell, int64, numbered by first appearance.

    donor_id is unique only within a dataset, so the pair counts.
    """
    studies, donors = cells["dataset_id"].cat, cells["donor_id"].cat
    pairs = studies.codes.to_numpy(np.int64) * len(donors.categories) + donors.codes.to_numpy()
    return pd.factorize(pairs)[0]


def select_types(
    cells: pd.DataFrame, ontology: Ontology, criteria: TypeCriteria
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Chooses the types that can be learned from the reference release.

    Args:
        cells: the release's primary cells of the wanted assays, see `read_release_cells`.
        ontology: relates the types.
        criteria: thresholds.

    Returns:
        The chosen types (cl_id, label, cells, donors) and a report (quantity, value) of how many
        types were left after each criterion.

    Raises:
        UserError: a label stands for several terms, the root is no term of the ontology, or fewer
            than two types are left.
    """
    table = pd.DataFrame(
        {
            "cl_id": cells["cell_type_ontology_term_id"],
            "label": cells["cell_type"],
            "donor": donor_of(cells),
        }
    )
    types = (
        table.groupby(["cl_id", "label"], observed=True)["donor"]
        .agg(cells="size", donors="nunique")
        .reset_index()
        .astype({"cl_id": str, "label": str})
    )
    for column in ("label", "cl_id"):
        if (twice := types[column].duplicated(keep=False)).any():
            rows = types.loc[twice, ["label", "cl_id"]].head(2).to_numpy().tolist()
            raise UserError(
                f"The release gives one {column} two meanings: {rows[0]} and {rows[1]}."
            )

    steps = [("types annotated", len(types))]
    terms = {cl_id: ontology.current(cl_id) for cl_id in types["cl_id"]}
    above = {i: ontology.ancestors(term) for i, term in terms.items() if term is not None}
    types = types[types["cl_id"].isin(list(above))]
    steps.append(("types in the ontology", len(types)))
    root = _current_root(criteria.root, ontology)
    types = types[[root in above[cl_id] for cl_id in types["cl_id"]]]
    steps.append((f"types below {criteria.root}", len(types)))
    types = types[types["cells"] >= criteria.min_cells]
    steps.append((f"types with at least {criteria.min_cells} cells", len(types)))
    types = types[types["donors"] > criteria.min_donors]
    steps.append((f"types with more than {criteria.min_donors} donors", len(types)))
    types = types[[len(above[cl_id]) > criteria.min_ancestors for cl_id in types["cl_id"]]]
    steps.append((f"types with more than {criteria.min_ancestors} ancestors", len(types)))
    if len(types) < 2:
        counts = ", ".join(f"{name}: {value}" for name, value in steps)
        raise UserError(f"Curation leaves {len(types)} types, but two are needed ({counts}).")
    report = pd.DataFrame([*steps, ("types", len(types))], columns=["quantity", "value"])
    return types.sort_values("label", ignore_index=True), report


def check_types(types: pd.DataFrame, expected: pd.DataFrame, name: str) -> None:
    """Checks that curation arrived at the types that were expected.

    Args:
        types: the chosen types (cl_id, label).
        expected: the same columns.
        name: of the table of expected types, for the message.

    Raises:
        UserError: a type was lost or won; names the first ten of each.
    """
    found: dict[str, str] = dict(
        zip(types["cl_id"].astype(str), types["label"].astype(str), strict=True)
    )
    wanted: dict[str, str] = dict(
        zip(expected["cl_id"].astype(str), expected["label"].astype(str), strict=True)
    )
    differences = []
    for word, some, others in (("lost", wanted, found), ("won", found, wanted)):
        names = sorted(f"{label} ({i})" for i, label in some.items() if others.get(i) != label)
        if names:
            more = ", ..." if len(names) > 10 else ""
            differences.append(f"{len(names)} {word}: {', '.join(names[:10])}{more}")
    if differences:
        raise UserError(
            f"Curation gives other types than the {len(wanted)} of {name}, "
            f"{'; '.join(differences)}: set curation.expected_types to null to go on with these."
        )


def _current_root(root: str, ontology: Ontology) -> str:
    """The term that stands for the root in the ontology."""
    current = ontology.current(root)
    if current is None:
        raise UserError(
            f"Ontology {ontology.version} has no current term {root}: change curation.root."
        )
    if current != root:
        logger.warning(
            "curation.root %s is obsolete in ontology %s: types must descend from %s (%s), and "
            "have fewer ancestors than in releases that hold both",
            *(root, ontology.version, current, ontology.names[current]),
        )
    return current


def select_genes(genes: pd.DataFrame, names: Sequence[str] | None) -> pd.DataFrame:
    """Chooses the genes of the models from those of the reference release.

    Args:
        genes: the release's genes (soma_joinid, feature_id, feature_name).
        names: wanted gene names; None takes all.

    Returns:
        feature_id, feature_name, in the order of the release.

    Raises:
        UserError: no name is found, or there are more genes than the store can number.
    """
    chosen = genes if names is None else genes[genes["feature_name"].isin(set(names))]
    if chosen.empty:
        raise UserError("No gene of data.genes is among the feature_names of the release.")
    if len(chosen) > 65536:
        raise UserError(f"{len(chosen):,} genes, but a store holds at most 65,536: use data.genes.")
    return chosen[["feature_id", "feature_name"]].reset_index(drop=True)


def split_units(units: np.ndarray, seed: int, val: float, test: float) -> dict[str, np.ndarray]:
    """Divides cells into train, val and id, keeping the cells of a unit together.

    As published: the units, in order of first appearance, are shuffled by
    `default_rng(seed)`; of n units the last ceil(test n) are the test set, the ceil(val n) before
    them validation. One fresh `default_rng(seed)` then permutes the cells of train, val and id,
    in this order.

    Args:
        units: int64 (cells), unit of each cell, numbered by first appearance.
        seed: of both generators.
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


def class_weights(labels: np.ndarray, n_types: int) -> np.ndarray:
    """Balanced class weights w_i = N / (C n_i), float64 (C,); as scikit-learn's "balanced".

    A type without cells gets weight 0.
    """
    cells = np.bincount(labels, minlength=n_types).astype(np.float64)
    weights = np.zeros(n_types)
    np.divide(len(labels) / n_types, cells, out=weights, where=cells > 0)
    return weights


def _labelled(cells: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Cells of the chosen types with their type index; the columns of the cell table but `set`."""
    index = pd.Index(labels).get_indexer(cells["cell_type"].cat.categories)
    label = index[cells["cell_type"].cat.codes]
    kept = cells[label >= 0].reset_index(drop=True)
    # Names are joined once a donor, not once a cell.
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
            "tissue": kept["tissue"],
            "tissue_general": kept["tissue_general"],
            "disease": kept["disease"],
            "assay": kept["assay"],
        }
    )


def split_reference(
    cells: pd.DataFrame, labels: Sequence[str], split: Mapping[str, float | int | str]
) -> Split:
    """Labels the reference release's cells and divides them into train, val and id.

    Args:
        cells: the release's primary cells of the wanted assays.
        labels: labels of the types in index order.
        split: the config's `split` (unit, seed, val, test, multiple_of).

    Raises:
        UserError: a part is empty, or a type has no cell in the train part.
    """
    table = _labelled(cells, labels)
    if split["unit"] == "donor":
        units = table["donor"].cat.codes.to_numpy()  # numbered by first appearance
    else:
        units = np.arange(len(table))
    parts = split_units(units, int(split["seed"]), float(split["val"]), float(split["test"]))
    present = np.bincount(table["label"].to_numpy()[parts["train"]], minlength=len(labels)) > 0
    if not present.all():
        absent = [label for label, there in zip(labels, present, strict=True) if not there]
        raise UserError(
            f"The train part has no cell of {len(absent)} of the {len(labels)} types (the first is "
            f"{absent[0]}), which then cannot be learned: raise curation.min_donors, or change "
            "split.seed or split.unit."
        )
    multiple = int(split["multiple_of"])
    steps: list[tuple[str, int]] = [
        ("cells of the types", len(table)),
        ("donors", int(table["donor"].nunique())),
        ("studies", int(table["study"].nunique())),
    ]
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


def describe_types(types: pd.DataFrame, split: Split) -> pd.DataFrame:
    """A row a type: index, cl_id, label, cells, donors, train_cells, class_weight.

    train_cells and the balanced class weights count training cells before the cut to a multiple,
    as published.

    Args:
        types: the hierarchy's types.
        split: the divided cells.
    """
    return types[["index", "cl_id", "label"]].assign(
        cells=split.all_cells,
        donors=split.donors,
        train_cells=np.bincount(split.train_labels, minlength=len(types)),
        class_weight=class_weights(split.train_labels, len(types)),
    )


def select_new_studies(
    cells: pd.DataFrame, known_studies: Sequence[str], labels: Sequence[str], name: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cells of a newer release whose studies the reference release does not have.

    Types are matched by label, as published.

    Args:
        cells: the newer release's primary cells of the wanted assays.
        known_studies: dataset_ids of the reference release.
        labels: labels of the types in index order.
        name: name of the evaluation set.

    Returns:
        The cells, ascending in soma_joinid (columns as in `Split.cells`), and a report.
    """
    new = cells[~cells["dataset_id"].isin(list(known_studies))]
    table = _labelled(new, labels).assign(set=name).astype({"set": "category"})
    if table.empty:
        raise UserError(
            f"The evaluation set {name} is empty: the {len(new):,} cells of new studies are of no "
            "type that is trained on. Name another release in data.new, or map their labels."
        )
    steps = [
        ("cells in new studies", len(new)),
        (f"{name} cells", len(table)),
        (f"{name} studies", table["study"].nunique()),
        (f"{name} donors", table["donor"].nunique()),
        (f"{name} types", table["label"].nunique()),
    ]
    report = pd.DataFrame(steps, columns=["quantity", "value"])
    return table[CELL_COLUMNS], report
