"""Class weights: the weight of each type's cells in training."""

import numpy as np
import pandas as pd

from hce.curation.split import Split


def class_weights(labels: np.ndarray, n_types: int) -> np.ndarray:
    """Balanced class weights w_i = N / (C n_i), float64 (C,); like scikit-learn's "balanced".

    A type without cells gets weight 0.
    """
    cells = np.bincount(labels, minlength=n_types).astype(np.float64)
    weights = np.zeros(n_types)
    np.divide(len(labels) / n_types, cells, out=weights, where=cells > 0)
    return weights


def describe_types(types: pd.DataFrame, split: Split) -> pd.DataFrame:
    """One row per type: index, cl_id, label, cells, donors, train_cells, class_weight.

    As in the published code, train_cells and the balanced class weights count training cells before
    the cut to a multiple.

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
