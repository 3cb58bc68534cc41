"""Predictions against the truth, which only a simulated atlas has: the finest type of each cell.

Exact, credited and study-aware scores compare an answer with the author's label. These compare it
with what the cell is, whatever its study called it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hce.errors import UserError
from hce.files import read_parquet
from hce.ontology import Hierarchy, Ontology

HIERARCHICAL_F1 = "truth_hierarchical_f1"
WRONG_SHARE = "truth_wrong_share"
RIGHT_DEPTH = "truth_right_depth"
# With fewer losses and decoders a rank correlation says nothing.
FEWEST = 3


def score_truth(
    predictions: Sequence[str | Path],
    sets: Sequence[str],
    truths: Sequence[str | Path],
    decoders: Sequence[str],
    hierarchy: Hierarchy,
    ontology: Ontology,
) -> pd.DataFrame:
    """Scores the predictions of a fit by the truth.

    Args:
        predictions: one Parquet file per set, see `prediction.predict`.
        sets: names of the sets, in the order of `predictions`.
        truths: for each set the truth of its release (Parquet: soma_joinid, cl_id).
        decoders: names of the decoders.
        hierarchy: the types of the run.
        ontology: has the types and the finest types of the cells.

    Returns:
        set, decoder, score, value, with the scores of `compare`.

    Raises:
        UserError: the truth of a cell is not known.
    """
    rows = []
    for path, set_name, truth_path in zip(predictions, sets, truths, strict=True):
        columns = [f"prediction_{decoder}" for decoder in decoders]
        table = read_parquet(path, columns=["soma_joinid", *columns])
        known = read_parquet(truth_path).set_index("soma_joinid")["cl_id"]
        truth = known.reindex(table["soma_joinid"])
        if lost := int(truth.isna().sum()):
            raise UserError(
                f"{truth_path} lacks {lost:,} cells of {path}: they are of two simulations; delete "
                "the folder of the release and run again."
            )
        terms, term_of = np.unique(truth.to_numpy(str), return_inverse=True)
        for decoder, column in zip(decoders, columns, strict=True):
            key = term_of * len(hierarchy) + table[column].to_numpy()
            shape = (len(terms), len(hierarchy))
            counts = np.bincount(key, minlength=shape[0] * shape[1]).reshape(shape)
            scores = compare(counts, terms.tolist(), hierarchy, ontology)
            rows += [(set_name, decoder, name, value) for name, value in scores.items()]
    return pd.DataFrame(rows, columns=["set", "decoder", "score", "value"])


def compare(
    counts: np.ndarray, terms: Sequence[str], hierarchy: Hierarchy, ontology: Ontology
) -> dict[str, float]:
    """Scores of answers against finest types.

    Args:
        counts: int (T, C), cells by finest type and answer.
        terms: CL ids of the T finest types.
        hierarchy: the types, which the answers are of.
        ontology: has both; A is the set of a term and all its ancestors there.

    Returns:
        truth_hierarchical_f1: mean over cells of 2 |A_p ∩ A_t| / (|A_p| + |A_t|), p the answer and
            t the finest type.
        truth_wrong_share: share of the cells whose answer is neither the finest type nor above it.
        truth_right_depth: mean number of ancestors of the other answers; NaN where there is none.
    """
    of_truth = [_family(term, ontology) for term in terms]
    of_answer = [_family(term, ontology) for term in hierarchy.types["cl_id"]]
    position = {term: i for i, term in enumerate(sorted(set().union(*of_truth, *of_answer)))}
    t, p = (_membership(families, position) for families in (of_truth, of_answer))
    common = t @ p.T
    size_t, size_p = t.sum(axis=1), p.sum(axis=1)
    f1 = 2 * common / (size_t[:, None] + size_p)
    right = counts * (common == size_p)  # all of A_p is in A_t
    cells, right_cells = counts.sum(), right.sum()
    return {
        HIERARCHICAL_F1: float((counts * f1).sum() / cells),
        WRONG_SHARE: float(1 - right_cells / cells),
        RIGHT_DEPTH: float((right @ (size_p - 1)).sum() / right_cells) if right_cells else np.nan,
    }


def rank_agreement(
    truth: pd.DataFrame, overall: pd.DataFrame, scores: Iterable[str]
) -> pd.DataFrame:
    """Whether a score ranks losses and decoders as the truth does.

    Args:
        truth: `truth.tsv`: model, loss, seed, set, decoder, score, value.
        overall: `overall.tsv`, the same columns.
        scores: names of scores of `overall`; those that it lacks are left out.

    Returns:
        model, set, score, pairs, rho: the rank correlation (Spearman) of the score with
        `truth_hierarchical_f1` over the pairs of loss and decoder, each a mean over seeds; NaN with
        fewer than three pairs, or where all are equal.
    """
    paired = pair_scores(truth, overall, scores)
    rows = []
    for (model, set_name, score), pairs in paired.groupby(["model", "set", "score"], sort=False):
        rho = np.nan
        if len(pairs) >= FEWEST and pairs["value"].nunique() > 1 and pairs["truth"].nunique() > 1:
            rho = pairs["value"].rank().corr(pairs["truth"].rank())
        rows.append((model, set_name, score, len(pairs), rho))
    return pd.DataFrame(rows, columns=["model", "set", "score", "pairs", "rho"])


def pair_scores(truth: pd.DataFrame, overall: pd.DataFrame, scores: Iterable[str]) -> pd.DataFrame:
    """Means over seeds of scores beside the truth's, see `rank_agreement`.

    Returns:
        model, set, score, loss, decoder, value, truth.
    """
    keys = ["model", "set", "loss", "decoder"]
    chosen = truth[truth["score"] == HIERARCHICAL_F1]
    means = chosen.groupby(keys, sort=False)["value"].mean().rename("truth").reset_index()
    wanted = [score for score in scores if (overall["score"] == score).any()]
    parts = [
        overall[overall["score"] == score]
        .groupby(keys, sort=False)["value"]
        .mean()
        .reset_index()
        .assign(score=score)
        .merge(means, on=keys)
        for score in wanted
    ]
    columns = ["model", "set", "score", "loss", "decoder", "value", "truth"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _family(term: str, ontology: Ontology) -> frozenset[str]:
    """A term, under its current id, and all its ancestors."""
    current = ontology.current(term)
    if current is None:
        raise UserError(
            f"Ontology {ontology.version} has no current term {term}: take the ontology that the "
            "atlas was simulated with."
        )
    return ontology.ancestors(current) | {current}


def _membership(families: Sequence[frozenset[str]], position: dict[str, int]) -> np.ndarray:
    """float64 (families, terms), 1 where the term is of the family."""
    found = np.zeros((len(families), len(position)))
    for row, family in enumerate(families):
        found[row, [position[term] for term in family]] = 1
    return found
