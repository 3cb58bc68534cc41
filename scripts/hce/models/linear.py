"""The linear model: multinomial logistic regression."""

import torch
from torch import Tensor, nn

from hce.models.sparse import sparse_product


class Linear(nn.Linear):
    """One affine layer from genes to types.

    Args:
        n_genes: width of the input.
        n_types: number of types.
    """

    takes_sparse = True

    def __init__(self, n_genes: int, n_types: int) -> None:
        super().__init__(n_genes, n_types)

    def forward(self, expression: Tensor) -> Tensor:
        """Logits, float32 (B, types), of expression (B, genes), dense or sparse rows (CSR)."""
        if expression.layout == torch.sparse_csr:
            return sparse_product(expression, self.weight) + self.bias
        return super().forward(expression)
