"""The linear model: multinomial logistic regression."""

from collections.abc import Callable
from typing import Self

from torch import Tensor

from hce.batches.split import SplitBatch
from hce.models.sparse import sparse_product
from hce.models.wide import WideLinear


class Linear(WideLinear):
    """One affine layer from genes to types.

    The weights, (types, genes), of a gene lie side by side in memory on the CPU, where the product
    with sparse rows takes them gene by gene.

    Args:
        n_genes: width of the input.
        n_types: number of types.
    """

    takes_sparse = True

    def __init__(self, n_genes: int, n_types: int) -> None:
        super().__init__(n_genes, n_types)
        self._arrange()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._arrange()
        return self

    def _arrange(self) -> None:
        weight = self.weight.data
        if weight.device.type == "cpu":
            self.weight.data = weight.mT.contiguous().mT
        else:
            self.weight.data = weight.contiguous()

    def forward(self, expression: Tensor | SplitBatch) -> Tensor:
        """Logits, float32 (B, types), of expression (B, genes)."""
        if isinstance(expression, SplitBatch):
            return sparse_product(expression, self.weight) + self.bias
        return super().forward(expression)
