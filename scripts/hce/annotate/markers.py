"""Whether cells show the genes that mark the type which they are called."""

import numpy as np
import pandas as pd

from hce.annotate.annotator import Annotator
from hce.store.counts import TARGET_TOTAL

MARKERS = 5
# Fewer cells are not checked.
MIN_CELLS = 10
# Less than one count in 10,000 is seen too rarely to mark a type.
RARE = 1.0
COLUMNS = ["group", "type", "gene", "found", "expected", "elsewhere", "agrees"]


def check_markers(
    annotator: Annotator,
    types: np.ndarray,
    sums: np.ndarray,
    cells: np.ndarray,
    genes: np.ndarray,
) -> pd.DataFrame:
    """Checks groups of cells that are called a type.

    A gene marks a type if its training cells have more of it than those of the types that are
    neither above nor below it. The cells agree if what they have of it is, as a ratio, nearer to
    the former than to the latter.

    Args:
        annotator: a model; nothing is checked if it does not know the shares of genes in its types.
        types: int (groups,), what the cells of each group are called; a term above the types, or
            −1, is not checked.
        sums: float (groups, G), counts per 10,000, summed over the cells of each group.
        cells: int (groups,), number of these cells.
        genes: int (n,), positions of the genes to choose from.

    Returns:
        `COLUMNS`, `MARKERS` rows per group that is checked: group (position), type (label), gene,
        found (in the cells), expected (from training cells of the type), elsewhere (from those of
        the others), all in counts per 10,000, and agrees.
    """
    rows: list[tuple[object, ...]] = []
    novelty, trained = annotator.novelty, annotator.trained
    labels, names = trained.types["label"].to_numpy(), trained.genes["feature_name"].to_numpy()
    for group in np.flatnonzero((types >= 0) & (types < len(labels)) & (cells >= MIN_CELLS)):
        number = types[group]
        others = ~(trained.reachability[number] | trained.reachability[:, number])
        if novelty is None or not others.any():
            continue
        per_gene = TARGET_TOTAL * np.exp(novelty.log_shares[:, genes].astype(np.float64)) + RARE
        expected, elsewhere = per_gene[number], per_gene[others].mean(axis=0)
        found = sums[group, genes] / cells[group] + RARE
        for gene in np.argsort(-expected / elsewhere, kind="stable")[:MARKERS]:
            values = (found[gene], expected[gene], elsewhere[gene])
            agrees = bool(values[0] ** 2 >= values[1] * values[2])
            shown = [float(value - RARE) for value in values]
            rows.append((group, labels[number], names[genes[gene]], *shown, agrees))
    return pd.DataFrame(rows, columns=COLUMNS)


def unmarked(checked: pd.DataFrame, n_groups: int) -> np.ndarray:
    """Which groups show none of the genes that mark their type, bool (groups,).

    Args:
        checked: see `check_markers`.
        n_groups: number of groups, with those that were not checked.
    """
    agrees = checked.groupby("group")["agrees"].any()
    found = np.zeros(n_groups, dtype=bool)
    found[agrees.index[~agrees.to_numpy(dtype=bool)].to_numpy(dtype=int)] = True
    return found
