"""Selects the types, the genes and the new studies of a run.

Follows the published code (microsoft/hce-classification, theislab/scTab) for details that the paper
does not give.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from hce.curation.cells import CELL_COLUMNS, donor_of, label_cells
from hce.curation.matching import (
    COLUMN_OF,
    count_annotations,
    report_differences,
    types_both_ways,
)
from hce.errors import UserError
from hce.ontology import Ontology
from hce.store.counts import MAX_GENES

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TypeCriteria:
    """Conditions on a type in the reference release.

    Attributes:
        root: id of the term that it must descend from.
        min_cells: it needs at least this many cells.
        min_donors: it needs more than this many donors.
        min_ancestors: it needs more than this many strict ancestors in the ontology.
    """

    root: str
    min_cells: int
    min_donors: int
    min_ancestors: int


def select_types(
    cells: pd.DataFrame, ontology: Ontology, criteria: TypeCriteria
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Selects the types that can be learned from the reference release.

    Args:
        cells: the release's primary cells of the selected assays, see `read_release_cells`.
        ontology: the ontology.
        criteria: the conditions.

    Returns:
        The selected types (cl_id, label, cells, donors) and a report (quantity, value) of the
        number of types that are left after each condition.

    Raises:
        UserError: a label belongs to several terms, the root is not a term of the ontology, or
            fewer than two types are left.
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
    """Checks that the selected types are the expected ones.

    Args:
        types: the selected types (cl_id, label).
        expected: the expected types, with the same columns.
        name: name of the table of expected types, for the message.

    Raises:
        UserError: types are missing or unexpected; the message names the first ten of each.
    """
    found: dict[str, str] = dict(
        zip(types["cl_id"].astype(str), types["label"].astype(str), strict=True)
    )
    wanted: dict[str, str] = dict(
        zip(expected["cl_id"].astype(str), expected["label"].astype(str), strict=True)
    )
    differences = []
    for word, some, others in (("missing", wanted, found), ("unexpected", found, wanted)):
        names = sorted(f"{label} ({i})" for i, label in some.items() if others.get(i) != label)
        if names:
            more = ", ..." if len(names) > 10 else ""
            differences.append(f"{len(names)} {word}: {', '.join(names[:10])}{more}")
    if differences:
        raise UserError(
            f"Curation gives other types than the {len(wanted)} of {name}, "
            f"{'; '.join(differences)}: set curation.expected_types to null to continue with these."
        )


def _current_root(root: str, ontology: Ontology) -> str:
    """The term of the root in the ontology."""
    current = ontology.current(root)
    if current is None:
        raise UserError(
            f"Ontology {ontology.version} has no current term {root}: change curation.root."
        )
    if current != root:
        logger.warning(
            "curation.root %s is obsolete in ontology %s: types must descend from %s (%s), and "
            "have fewer ancestors than in releases that hold both",
            root,
            ontology.version,
            current,
            ontology.names[current],
        )
    return current


def select_genes(
    genes: pd.DataFrame, names: Sequence[str] | None, min_share: float
) -> pd.DataFrame:
    """Selects the genes of the models from those of the reference release.

    Args:
        genes: the release's genes (soma_joinid, feature_id, feature_name).
        names: names of the genes to select; None selects all.
        min_share: share of the names that the release must have.

    Returns:
        feature_id, feature_name, in the order of the release.

    Raises:
        UserError: fewer names are found, or there are more genes than the store can number.
    """
    chosen = genes if names is None else genes[genes["feature_name"].isin(set(names))]
    found = chosen["feature_name"].nunique()
    if names is not None and found < max(1, min_share * len(set(names))):
        raise UserError(
            f"Of the {len(set(names)):,} genes of data.genes {found:,} are among the feature_names "
            "of the release: give gene symbols as the release has them, or lower data.min_genes."
        )
    if len(chosen) > MAX_GENES:
        raise UserError(
            f"{len(chosen):,} genes, but a store can have at most 65,536: use data.genes."
        )
    return chosen[["feature_id", "feature_name"]].reset_index(drop=True)


def select_new_studies(
    cells: pd.DataFrame,
    known_studies: Sequence[str],
    types: pd.DataFrame,
    name: str,
    match: str = "label",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cells of a newer release whose studies no earlier release has.

    Args:
        cells: the newer release's primary cells of the selected assays.
        known_studies: dataset_ids of the releases that decide what is new.
        types: cl_id and label of the types in index order.
        name: name of the evaluation set.
        match: the column by which types are found; label is that of the published code.

    Returns:
        The cells, ascending in soma_joinid (columns as in `Split.cells`), and a report, which also
        has the annotations whose type depends on `match`.
    """
    new = cells[~cells["dataset_id"].isin(list(known_studies))]
    if new.empty:
        raise UserError(
            f"The evaluation set {name} is empty: the reference release has every study of the "
            "newer one too. Name another release in data.new."
        )
    chosen = label_cells(new, types[match].tolist(), COLUMN_OF[match])
    table = chosen.assign(set=name).astype({"set": "category"})
    if table.empty:
        raise UserError(
            f"The evaluation set {name} is empty: none of the {len(new):,} cells of new studies "
            "has a type of the models. Name another release in data.new, or map their labels."
        )
    steps = [
        ("cells in new studies", len(new)),
        (f"{name} cells", len(table)),
        (f"{name} studies", table["study"].nunique()),
        (f"{name} donors", table["donor"].nunique()),
        (f"{name} types", table["label"].nunique()),
        *report_differences(types_both_ways(count_annotations(new), types)),
    ]
    report = pd.DataFrame(steps, columns=["quantity", "value"])
    return table[CELL_COLUMNS], report
