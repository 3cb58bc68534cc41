"""Products of batches as wide as all genes, so that a GPU can take its fastest way."""

from torch import Tensor, nn
from torch.nn import functional

from hce.batches.rows import ALIGNED


def wide_linear(expression: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `functional.linear`; of rows as `aligned_rows` gives, with what lies between them.

    The weights that this meets are zeros.

    Args:
        expression: (B, genes).
        weight: (width, genes).
        bias: (width,).
    """
    if gap := _gap(expression):
        whole = len(expression), expression.stride(0)
        expression = expression.as_strided(whole, expression.stride())
        weight = functional.pad(weight, (0, gap))
    return functional.linear(expression, weight, bias)


def _gap(rows: Tensor) -> int:
    """Numbers between a row and the next one, if a product may take them with it."""
    apart, step = rows.stride()
    end = (rows.storage_offset() + len(rows) * apart) * rows.element_size()
    inside = step == 1 and apart % ALIGNED == 0 and end <= rows.untyped_storage().nbytes()
    gap = apart - rows.shape[1]
    return gap if inside and 0 < gap < ALIGNED else 0


class WideLinear(nn.Linear):
    """An affine layer on a batch; the weights are those of torch's layer."""

    def forward(self, expression: Tensor) -> Tensor:
        """(B, out), from expression (B, genes)."""
        return wide_linear(expression, self.weight, self.bias)
