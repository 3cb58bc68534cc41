"""Vocabularies of studies, and the right answers that they leave for each label.

The *vocabulary* of a study is the set of terms that it labels its cells with. If a study uses a
label and also a finer one below it, its cells with the upper label do not have the finer type. This
gives the restricted reachability of study k: R_k[a, j] = 1 if type j is a or below it, and no term
b of k is strictly below a with j at or below b. R_k is a subset of R; it is not transitive and
therefore not a partial order.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hce.ontology.hierarchy import Hierarchy, Ontology

# Columns of the table of vocabularies.
COLUMNS = ["release", "study", "cl_id", "label", "cells", "known", "counted"]
# Values of `counted`: the cells among which the labels of a study were counted.
ALL_CELLS, KEPT_CELLS = "all cells", "kept cells"


def restrict(reachability: np.ndarray, above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The restricted reachability of a study.

    Args:
        reachability: bool (C, C), R.
        above: bool (V, C), [b, a] is True if type a is strictly above term b of the vocabulary.
        below: bool (V, C), [b, j] is True if type j is term b or below it.

    Returns:
        bool (C, C), R_k.
    """
    finer = above.T.astype(np.float32) @ below.astype(np.float32)
    return reachability & (finer == 0)


def relate(
    terms: Sequence[str], hierarchy: Hierarchy, ontology: Ontology
) -> tuple[np.ndarray, np.ndarray]:
    """The relations of terms to the types, in the whole ontology.

    Args:
        terms: ids; those that the ontology lacks have no relations.
        hierarchy: the types.
        ontology: the ontology of both.

    Returns:
        above and below as in `restrict`, bool (terms, C).
    """
    of_types = [ontology.current(cl_id) for cl_id in hierarchy.types["cl_id"]]
    with_ancestors = [
        frozenset() if term is None else ontology.ancestors(term) | {term} for term in of_types
    ]
    above = np.zeros((len(terms), len(hierarchy)), dtype=bool)
    below = np.zeros_like(above)
    for row, cl_id in enumerate(terms):
        if (term := ontology.current(cl_id)) is None:
            continue
        ancestors = ontology.ancestors(term)
        above[row] = [of_type in ancestors for of_type in of_types]
        below[row] = [term in family for family in with_ancestors]
    return above, below


def count_kept(cells: pd.DataFrame, types: pd.DataFrame) -> pd.DataFrame:
    """The labels of studies of which only the selected cells are known.

    Args:
        cells: study and label (type index) of each cell.
        types: `Hierarchy.types`.

    Returns:
        study, cl_id, label, cells, one row per study and type.
    """
    found = cells.groupby(["study", "label"], observed=True).size().reset_index(name="cells")
    chosen = types.iloc[found["label"]].reset_index(drop=True)
    return found.assign(cl_id=chosen["cl_id"], label=chosen["label"]).astype({"study": str})


def make_table(
    counts: pd.DataFrame, ontology: Ontology, release: str, counted: str = ALL_CELLS
) -> pd.DataFrame:
    """The vocabularies of all studies of a release.

    Args:
        counts: study, cl_id, label and cells, one row per study and term.
        ontology: the ontology.
        release: its name.
        counted: `ALL_CELLS` or `KEPT_CELLS`.

    Returns:
        `COLUMNS`; known says whether the ontology has the term or its replacement.
    """
    table = counts.assign(release=release, counted=counted)
    table["known"] = [ontology.current(term) is not None for term in table["cl_id"]]
    return table[COLUMNS].sort_values(["study", "cl_id"], ignore_index=True)


def describe(vocabularies: pd.DataFrame) -> pd.DataFrame:
    """The rows on vocabularies in the report of the curation.

    Args:
        vocabularies: see `make_table`.

    Returns:
        quantity, value: studies, labels and terms; then, with their cells, the terms that the
        ontology lacks and that therefore have no effect.
    """
    steps = [
        ("studies with a vocabulary", vocabularies["study"].nunique()),
        ("labels of studies", len(vocabularies)),
        ("terms of labels", vocabularies["cl_id"].nunique()),
    ]
    unknown = vocabularies[~vocabularies["known"]]
    steps.append(("terms that the ontology lacks", unknown["cl_id"].nunique()))
    cells = unknown.pivot_table("cells", ["cl_id", "label"], aggfunc="sum").reset_index()
    steps += [
        (f"cells of {row['cl_id']} ({row['label']}), which has no effect", row["cells"])
        for row in cells.to_dict("records")
    ]
    return pd.DataFrame(steps, columns=["quantity", "value"])


def of_collections(vocabularies: pd.DataFrame, collections: Mapping[str, str]) -> pd.DataFrame:
    """The vocabularies if all studies of a collection shared one.

    Args:
        vocabularies: see `make_table`.
        collections: study → its collection; a study without one keeps its own vocabulary.

    Returns:
        The same columns; a study has every term of its collection, with all cells of the
        collection.
    """
    own = vocabularies["study"].map(collections).fillna(vocabularies["study"])
    placed = vocabularies.assign(collection=own)
    unit = ["release", "collection"]
    term = ["cl_id", "label", "known", "counted"]
    shared = placed.groupby([*unit, *term], as_index=False)["cells"].sum()
    studies = placed[[*unit, "study"]].drop_duplicates()
    return studies.merge(shared, on=unit)[COLUMNS]
