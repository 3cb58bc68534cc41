"""Scores that follow from confusion counts alone.

Counts of (stratum, label, prediction) are taken once; every score is arithmetic on them. A
*credited* score is the plain score of the counts after `credit`, so there is one formula for
both.
"""

from dataclasses import dataclass

import numpy as np

# Three questions about the same predictions. Credited, the paper's: is it the label or below it?
# Study-aware: is it that, and below no finer label of the study? Exact: is it the label?
KINDS = ("credited", "study_aware", "exact")
KIND_NAMES = {"credited": "credited", "study_aware": "study-aware", "exact": "exact"}
# What `macro_f1` makes of types that are predicted and have no cells → how tables name that score.
ABSENT = {"skip": "macro_f1", "zero": "macro_f1_union"}


def confusion(
    labels: np.ndarray,
    predictions: np.ndarray,
    n_types: int,
    strata: np.ndarray | None = None,
    n_strata: int = 1,
) -> np.ndarray:
    """Counts cells by stratum, label and prediction.

    Args:
        labels: (n,) type indices in 0..C-1, any integer dtype.
        predictions: (n,) type indices in 0..C-1, any integer dtype.
        n_types: C.
        strata: (n,) stratum (for example study) of each cell in 0..S-1; all in stratum 0 when
            None.
        n_strata: S.

    Returns:
        int64 (S, C, C): [s, i, j] cells of stratum s with label i and prediction j.

    Raises:
        ValueError: the arrays differ in length or a value lies outside its range.
    """
    if strata is None:
        strata = np.zeros(len(labels), dtype=np.int64)
    for name, values, size in (
        ("label", labels, n_types),
        ("prediction", predictions, n_types),
        ("stratum", strata, n_strata),
    ):
        if len(values) != len(labels):
            raise ValueError(f"{len(labels)} labels but {len(values)} values of {name}.")
        if len(values) and (values.min() < 0 or values.max() >= size):
            raise ValueError(
                f"a {name} lies outside 0 to {size - 1}: found {values.min()} to {values.max()}"
            )
    key = (strata.astype(np.int64) * n_types + labels) * n_types + predictions
    counts = np.bincount(key, minlength=n_strata * n_types * n_types)
    return counts.reshape(n_strata, n_types, n_types)


def credit(counts: np.ndarray, reachability: np.ndarray) -> np.ndarray:
    """Counts each prediction that equals its label or lies below it as the label.

    This is the scoring rule of scTab (Fischer et al., Nat. Commun. 15, 6611, 2024) and of the
    hierarchical cross-entropy paper (doi 10.1038/s43588-025-00945-z).

    Args:
        counts: int64 (..., C, C), label by prediction.
        reachability: bool (C, C), [i, j] True where j is i or a descendant of i.

    Returns:
        int64 (..., C, C): all credited cells of label i are in [i, i].
    """
    credited = np.where(reachability, counts, 0)
    result = counts - credited
    diagonal = np.arange(counts.shape[-1])
    result[..., diagonal, diagonal] = credited.sum(axis=-1)
    return result


@dataclass(frozen=True)
class TypeScores:
    """Scores of each type; every array is (..., C).

    Attributes:
        cells: int64, cells with that label.
        precision: float64, tp / (tp + fp); 0 where nothing was predicted, NaN without cells.
        recall: float64, tp / (tp + fn); NaN without cells.
        f1: float64, 2 tp / (2 tp + fp + fn); NaN without cells.
    """

    cells: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


def type_scores(counts: np.ndarray) -> TypeScores:
    """Precision, recall and F1 of each type that occurs as a label.

    Args:
        counts: int64 (..., C, C), label by prediction, as counted or after `credit`.
    """
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    cells = counts.sum(axis=-1)
    predicted = counts.sum(axis=-2)
    present = cells > 0

    def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
        # A denominator of 0 at a type that has cells is a precision of nothing: 0.
        return np.where(present, numerator / np.maximum(denominator, 1), np.nan)

    return TypeScores(
        cells=cells,
        precision=ratio(hits, predicted),
        recall=ratio(hits, cells),
        f1=ratio(2 * hits, cells + predicted),
    )


def macro_f1(
    counts: np.ndarray, among: np.ndarray | None = None, absent: str = "skip"
) -> np.ndarray:
    """Mean F1 over the types that occur as a label.

    Args:
        counts: int64 (..., C, C), label by prediction, as counted or after `credit`.
        among: bool (C,), types to average over, of those that occur; all when None. The F1 of
            a type is the same either way: errors on other types' cells still count.
        absent: what becomes of types that are predicted and have no cells. "skip": nothing, such
            predictions cost recall of their labels. "zero": their F1 of 0 is averaged too, so that
            the mean is over the union of labels and predictions, as in the published code.

    Returns:
        float64 (...,); NaN where there is no type to average over.
    """
    if absent not in ABSENT:
        raise ValueError(f"absent is {absent!r}: choose from {', '.join(ABSENT)}.")
    f1 = type_scores(counts).f1
    if absent == "zero":
        f1 = np.where(np.isnan(f1) & (counts.sum(axis=-2) > 0), 0.0, f1)
    wanted = ~np.isnan(f1) if among is None else ~np.isnan(f1) & among
    number = wanted.sum(axis=-1)
    total = np.where(wanted, f1, 0.0).sum(axis=-1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def macro_precision_recall(counts: np.ndarray) -> tuple[float, float]:
    """Mean precision and mean recall over the types that occur as a label.

    Args:
        counts: int64 (C, C), label by prediction, as counted or after `credit`.

    Returns:
        Both in 0 to 1; NaN where there are no cells.
    """
    scores = type_scores(counts)
    present = scores.cells > 0
    if not present.any():
        return np.nan, np.nan
    return float(scores.precision[present].mean()), float(scores.recall[present].mean())


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Share of cells whose prediction is right.

    Args:
        counts: int64 (..., C, C), label by prediction, as counted or after `credit`.

    Returns:
        float64 (...,); NaN where there are no cells.
    """
    total = counts.sum(axis=(-2, -1))
    hits = np.trace(counts, axis1=-2, axis2=-1)
    return np.where(total > 0, hits / np.maximum(total, 1), np.nan)


def weighted_f1(counts: np.ndarray) -> np.ndarray:
    """Mean F1 over the types that occur as a label, weighted by their cells.

    Args:
        counts: int64 (..., C, C), label by prediction, as counted or after `credit`.

    Returns:
        float64 (...,); NaN where there are no cells.
    """
    scores = type_scores(counts)
    total = scores.cells.sum(axis=-1)
    weighted = np.where(scores.cells > 0, scores.cells * scores.f1, 0.0).sum(axis=-1)
    return np.where(total > 0, weighted / np.maximum(total, 1), np.nan)


def hierarchical_scores(counts: np.ndarray, reachability: np.ndarray) -> dict[str, float]:
    """Hierarchical precision, recall and F1 (Kiritchenko et al., LNCS 4013, 395, 2006).

    Label and prediction are each extended by their ancestors. Precision is the share of the
    predicted types that are right, recall the share of the right types that are predicted, summed
    over cells. The root of the ontology would be right always and is not counted: it is not among
    the types.

    Args:
        counts: int64 (C, C), label by prediction, as counted.
        reachability: bool (C, C).
    """
    reach = reachability.astype(np.int64)
    ancestors = reach.sum(axis=0)  # of each type, with itself
    common = float((counts * (reach.T @ reach)).sum())
    predicted = float((counts.sum(axis=0) * ancestors).sum())
    right = float((counts.sum(axis=1) * ancestors).sum())
    return {
        "hierarchical_precision": _share(common, predicted),
        "hierarchical_recall": _share(common, right),
        "hierarchical_f1": _share(2 * common, predicted + right),
    }


def distances(reachability: np.ndarray) -> np.ndarray:
    """Number of is_a edges on the shortest way between any two types, float64 (C, C).

    Ways lead up and down the direct relations among the types, and over a root above all types
    that have no parent, because the types alone fall into separate parts.

    Args:
        reachability: bool (C, C).
    """
    n = len(reachability)
    strict = (reachability & ~np.eye(n, dtype=bool)).astype(np.int64)
    # A relation is direct where no third type lies between.
    direct = (strict > 0) & (strict @ strict == 0)
    edges = np.zeros((n + 1, n + 1))
    edges[:n, :n] = direct
    edges[n, :n] = ~strict.any(axis=0)
    from scipy.sparse.csgraph import shortest_path  # slow to import, and of use here alone

    return shortest_path(edges, directed=False, unweighted=True)[:n, :n]


def shape_of_errors(
    counts: np.ndarray, reachability: np.ndarray, ways: np.ndarray
) -> dict[str, float]:
    """How specific predictions are, and how far wrong the wrong ones.

    Args:
        counts: int64 (C, C), label by prediction, as counted.
        reachability: bool (C, C).
        ways: float64 (C, C), the `distances` of these types.

    Returns:
        ontology_distance: mean distance between label and prediction over the cells whose
            prediction is not credited; NaN where there is none.
        leaf_share: share of predictions that are types without descendants.
        over_specific_share: share of predictions that are strictly below the label.
    """
    cells = float(counts.sum())
    wrong = np.where(reachability, 0, counts)
    leaves = reachability.sum(axis=1) == 1
    below = reachability & ~np.eye(len(reachability), dtype=bool)
    return {
        "ontology_distance": _share(float((wrong * ways).sum()), wrong.sum()),
        "leaf_share": _share(float(counts[:, leaves].sum()), cells),
        "over_specific_share": _share(float(counts[below].sum()), cells),
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
