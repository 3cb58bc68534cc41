"""The linear model: multinomial logistic regression."""

from torch import nn


class Linear(nn.Linear):
    """One affine layer from genes to types.

    Args:
        n_genes: width of the input.
        n_types: number of types.
    """

    def __init__(self, n_genes: int, n_types: int) -> None:
        super().__init__(n_genes, n_types)
