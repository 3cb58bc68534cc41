"""Compares the published scTab store with what is derived here and what was published."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hce.ontology import Hierarchy
from hce.sources.sctab import SETS, Archive

# The cells of the store were cut to a multiple of this after its class weights were computed.
MULTIPLE = 1024
# Quantity of the published numbers → column of the cells whose distinct values it counts.
COUNTED = {"donors": "donor", "studies": "study", "tissues": "tissue_general"}


def describe_types(archive: Archive, hierarchy: Hierarchy, cells: pd.DataFrame) -> pd.DataFrame:
    """One row per type, like `curation.describe_types`, with the archive's class weights.

    These count the training cells before the cut; cells, donors and train_cells count the cells of
    the archive.

    Args:
        archive: the store.
        hierarchy: the hierarchy of its types.
        cells: all its cells.
    """
    weights = dict(zip(archive.types, archive.class_weights, strict=True))
    pairs = cells[["label", "donor"]].drop_duplicates()
    number = len(hierarchy)
    train = cells.loc[cells["set"] == "train", "label"]
    return hierarchy.types[["index", "cl_id", "label"]].assign(
        cells=np.bincount(cells["label"], minlength=number),
        donors=np.bincount(pairs["label"], minlength=number),
        train_cells=np.bincount(train, minlength=number),
        class_weight=[weights[label] for label in hierarchy.labels],
    )


def compare(
    archive: Archive,
    hierarchy: Hierarchy,
    types: pd.DataFrame,
    cells: pd.DataFrame,
    known: Sequence[str],
    gene_names: Sequence[str] | None,
    published: pd.DataFrame,
) -> pd.DataFrame:
    """Compares the archive with what is known about it.

    Args:
        archive: the store.
        hierarchy: its types in the ontology of the config.
        types: `describe_types`.
        cells: all its cells.
        known: labels of the published types.
        gene_names: the config's list of genes, or None.
        published: resources/published.tsv.

    Returns:
        quantity, item, archive, expected, verdict ("equal" or "different"). Numbers always have a
        row; single types, genes, pairs and weights only if they differ.
    """
    table = _Table()
    table.add("types", "number", len(archive.types), len(known))
    for label in sorted(set(archive.types) ^ set(known)):
        present = label in archive.types
        table.add("types", label, *("present", "absent") if present else ("absent", "present"))
    table.add("types", "in code-point order", archive.types == sorted(archive.types), True)

    quantities, sets = ["genes", "cells", *COUNTED], [*SETS, "reference"]
    numbers = published[published["quantity"].isin(quantities) & published["set"].isin(sets)]
    keys = zip(numbers["quantity"], numbers["set"], strict=True)
    wanted = dict(zip(keys, numbers["value"].astype(int), strict=True))
    table.add("genes", "number", len(archive.genes), wanted["genes", "reference"])
    if gene_names is not None:
        for name in sorted(set(archive.genes["feature_name"]) - set(gene_names)):
            table.add("genes", name, "present", "not in data.genes")

    _compare_reachability(table, archive, hierarchy)
    _compare_weights(table, types)

    for name in SETS:
        table.add("cells", name, int((cells["set"] == name).sum()), wanted["cells", name])
    for quantity, column in COUNTED.items():
        found = cells[column].nunique()
        table.add(quantity, "number", found, wanted[quantity, "reference"])
    repeated = int(cells["soma_joinid"].duplicated().sum())
    table.add("cells", "held more than once", repeated, 0)
    donors = cells[["donor", "set"]].drop_duplicates()
    table.add("donors", "in more than one set", int(donors["donor"].duplicated().sum()), 0)
    return table.frame()


class _Table:
    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []

    def add(self, quantity: str, item: str, archive: Any, expected: Any) -> None:
        verdict = "equal" if archive == expected else "different"
        self.rows.append((quantity, item, archive, expected, verdict))

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(
            self.rows, columns=["quantity", "item", "archive", "expected", "verdict"]
        )


def _compare_reachability(table: _Table, archive: Archive, hierarchy: Hierarchy) -> None:
    """Strict ancestor > descendant pairs of the child matrix and of the ontology."""
    code: Mapping[str, int] = {label: i for i, label in enumerate(archive.types)}
    order = np.array([code[label] for label in hierarchy.labels])
    theirs = archive.child_matrix[np.ix_(order, order)]
    ours = hierarchy.reachability
    diagonal = np.eye(len(hierarchy), dtype=bool)
    table.add(
        "reachability", "pairs", int((theirs & ~diagonal).sum()), int((ours & ~diagonal).sum())
    )
    for i, j in np.argwhere(theirs != ours):
        pair = f"{hierarchy.labels[i]} > {hierarchy.labels[j]}"
        table.add("reachability", pair, int(theirs[i, j]), int(ours[i, j]))


def _compare_weights(table: _Table, types: pd.DataFrame) -> None:
    """The archive's weights and balanced ones over its training cells.

    The weights of the archive count the cells before the cut. With n_i cells of type i and N cells
    in the archive, there were between N and N + 1,023 cells before the cut, and between n_i and
    n_i + 1,023 of type i, with the share that its weight implies.
    """
    cells = types["train_cells"].to_numpy(np.float64)
    size, number, cut = cells.sum(), len(types), MULTIPLE - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        share = 1.0 / (number * types["class_weight"].to_numpy())
        balanced = size / (number * cells)
        possible = (cells <= share * (size + cut) + 0.5) & (size * share <= cells + cut + 0.5)
    table.add("class weights", "types whose weights differ", int((~possible).sum()), 0)
    for i in np.flatnonzero(~possible):
        weight = types["class_weight"].iloc[i]
        table.add("class weights", types["label"].iloc[i], f"{weight:.6g}", f"{balanced[i]:.6g}")
