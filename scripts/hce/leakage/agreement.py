"""How far two studies agree on the labels of the same cells: the most to ask of a model.

Cells that are in several studies of a release, re-annotated or deposited again, have two labels, of
which one is taken for the label and the other for the answer, in both directions. Scored as
predictions are, they give a ceiling for each score.

Candidates are cells of different studies with the same number of non-zeros, sum and variance in
obs; only their counts are read, and cells are the same where the 64-bit fingerprints of all counts
are equal.
"""

import logging
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa

from hce.census.counts import CountsReader
from hce.census.release import Release, read_genes, read_obs
from hce.errors import UserError
from hce.leakage.duplicates import fingerprints
from hce.metrics import KINDS, macro_f1, type_scores
from hce.ontology import Hierarchy, Ontology
from hce.ontology.targets import Targets

logger = logging.getLogger(__name__)

STATISTICS = ("nnz", "raw_sum", "raw_variance_nnz")
_WORDS = {"dataset_id": "study", "cell_type_ontology_term_id": "cl_id"}
RELATIONS = ("exact", "ancestor", "neither")
ALL = "all"


def find_candidates(release: Release) -> pd.DataFrame:
    """The human cells of a release that may be in several studies.

    About 60 bytes a cell of the release are in memory.

    Returns:
        soma_joinid (ascending), study and cl_id (categories).

    Raises:
        UserError: obs has no statistics of the counts.
    """
    columns = release.part("census_data", "homo_sapiens", "obs").schema.names
    if missing := [name for name in STATISTICS if name not in columns]:
        raise UserError(
            f"Release {release.name} has no column {missing[0]} in obs, by which cells that are in "
            "several studies are found: take a release from 2023-12-15 on."
        )
    parts = []
    for table in read_obs(release, [*_WORDS, *STATISTICS]):
        words = {
            new: table[old].cast(pa.string()).dictionary_encode() for old, new in _WORDS.items()
        }
        parts.append(pa.table({"soma_joinid": table["soma_joinid"], "key": _keys(table), **words}))
    cells = pa.concat_tables(parts).unify_dictionaries().to_pandas()
    return cells[_in_several_studies(cells, "key")].drop(columns="key").reset_index(drop=True)


def _keys(table: pa.Table) -> np.ndarray:
    """One number for the statistics of a cell; equal for equal counts."""
    nnz, total, variance = (table[name].to_numpy() for name in STATISTICS)
    # Of a variance, digits that may depend on the order of a sum are left out.
    low = variance.astype(np.float32).view(np.uint32).astype(np.uint64)
    high = (nnz.astype(np.uint64) << np.uint64(16)) ^ total.astype(np.uint64)
    return (high << np.uint64(32)) | low


def _in_several_studies(cells: pd.DataFrame, group: str) -> np.ndarray:
    """Whether cells of another study have the same value in the column `group`, bool."""
    numbers = pd.factorize(cells[group])[0]
    study = cells["study"].cat.codes.to_numpy()
    lowest = np.full(numbers.max(initial=-1) + 1, np.iinfo(np.int64).max)
    highest = np.full(len(lowest), -1)
    np.minimum.at(lowest, numbers, study)
    np.maximum.at(highest, numbers, study)
    return (lowest < highest)[numbers]


def same_cells(release: Release, candidates: pd.DataFrame) -> pd.DataFrame:
    """The candidates that are in several studies with exactly the same counts.

    Args:
        release: the open release.
        candidates: see `find_candidates`.

    Returns:
        Its rows, and cell: a number that all rows of a cell share. Of each cell and study the
        first row alone.
    """
    reader = CountsReader(release, read_genes(release)["soma_joinid"].to_numpy(np.int64))
    ids = candidates["soma_joinid"].to_numpy(np.int64)
    prints = [fingerprints(counts) for _, counts in reader.blocks(ids)]
    found = candidates.assign(cell=np.concatenate(prints or [np.empty(0, np.uint64)]))
    found = found[found["cell"] != 0]  # without counts
    found = found.drop_duplicates(["cell", "study"])
    found = found[_in_several_studies(found, "cell")].reset_index(drop=True)
    return found.assign(cell=pd.factorize(found["cell"])[0])


def pair_labels(cells: pd.DataFrame) -> pd.DataFrame:
    """The labels that two studies give to the same cell, each pair in both directions.

    Args:
        cells: see `same_cells`.

    Returns:
        cell, study and label (CL id), and answer: the CL id that another study gives.
    """
    plain = cells[["cell", "study", "cl_id"]].astype({"study": str, "cl_id": str})
    pairs = plain.merge(plain, on="cell", suffixes=("", "_other"))
    pairs = pairs[pairs["study"] != pairs["study_other"]]
    pairs = pairs.rename(columns={"cl_id": "label", "cl_id_other": "answer"})
    return pairs[["cell", "study", "label", "answer"]].reset_index(drop=True)


def relate_pairs(pairs: pd.DataFrame, ontology: Ontology) -> pd.Series:
    """One of `RELATIONS` for each pair; "" where the ontology lacks a term.

    Args:
        pairs: see `pair_labels`.
        ontology: the ontology.
    """
    known: dict[tuple[str, str], str] = {}
    for label, answer in pairs[["label", "answer"]].drop_duplicates().to_numpy(object):
        one, other = ontology.current(label), ontology.current(answer)
        if one is None or other is None:
            relation = ""
        elif one == other:
            relation = "exact"
        elif one in ontology.ancestors(other) or other in ontology.ancestors(one):
            relation = "ancestor"
        else:
            relation = "neither"
        known[label, answer] = relation
    names = zip(pairs["label"], pairs["answer"], strict=True)
    return pd.Series([known[pair] for pair in names], index=pairs.index, dtype=object)


def score_pairs(
    pairs: pd.DataFrame, release: str, hierarchy: Hierarchy, targets: Targets
) -> dict[str, np.ndarray]:
    """Counts of pairs of types by label and answer, credited as predictions are.

    Args:
        pairs: see `pair_labels`; those of other terms than types are left out.
        release: name of the release.
        hierarchy: the types.
        targets: which answers the studies of the release leave to their labels.

    Returns:
        Kind of score → int64 (C, C).
    """
    index = pd.Index(hierarchy.types["cl_id"])
    label, answer = (index.get_indexer(pd.Index(pairs[name])) for name in ("label", "answer"))
    both = (label >= 0) & (answer >= 0)
    label, answer = label[both], answer[both]
    numbers = targets.of_cells(release, pairs["study"][both], label)
    right = {
        "credited": hierarchy.reachability[label, answer],
        "study_aware": targets.answers[numbers, answer],
        "exact": label == answer,
    }
    counts = {}
    for kind in KINDS:
        counts[kind] = np.zeros((len(hierarchy), len(hierarchy)), dtype=np.int64)
        np.add.at(counts[kind], (label, np.where(right[kind], label, answer)), 1)
    return counts


def agreement_table(
    pairs: pd.DataFrame,
    relations: pd.Series,
    counts: Mapping[str, np.ndarray],
    hierarchy: Hierarchy,
) -> pd.DataFrame:
    """How far studies agree, overall and for each type.

    Args:
        pairs: see `pair_labels`.
        relations: see `relate_pairs`.
        counts: see `score_pairs`.
        hierarchy: the types.

    Returns:
        cl_id and label (`ALL` in the first row), cells, pairs (with both terms in the ontology),
        `RELATIONS` (their shares of the pairs), and for each kind of score `<kind>_f1`; in the
        first row it is the mean over the types that occur.
    """
    table = pairs.assign(relation=relations)[relations != ""]
    scores = {kind: type_scores(of_kind) for kind, of_kind in counts.items()}
    overall = {f"{kind}_f1": float(macro_f1(of_kind)) for kind, of_kind in counts.items()}
    rows = [{"cl_id": ALL, "label": ALL, **_shares(table), **overall}]
    by_label = dict(list(table.groupby("label")))
    for i, (cl_id, label) in enumerate(
        hierarchy.types[["cl_id", "label"]].itertuples(index=False, name=None)
    ):
        if cl_id in by_label:
            own = {f"{kind}_f1": float(found.f1[i]) for kind, found in scores.items()}
            rows.append({"cl_id": cl_id, "label": label, **_shares(by_label[cl_id]), **own})
    return pd.DataFrame(rows)


def _shares(pairs: pd.DataFrame) -> dict[str, float]:
    shares = {name: float((pairs["relation"] == name).mean()) for name in RELATIONS}
    return {"cells": pairs["cell"].nunique(), "pairs": len(pairs), **shares}
