"""The multilayer perceptron."""

from torch import Tensor, nn

from hce.models.wide import WideLinear


class MLP(nn.Module):
    """Hidden layers of Linear, BatchNorm, SiLU and Dropout, and an affine layer.

    The defaults and the names of the parameters are those of the paper's runs.

    Args:
        n_genes: width of the input.
        n_types: number of types.
        hidden_size: width of a hidden layer.
        n_hidden: number of hidden layers.
        dropout: share of hidden units dropped in training.
    """

    def __init__(
        self,
        n_genes: int,
        n_types: int,
        hidden_size: int = 128,
        n_hidden: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for layer in range(n_hidden):
            layers += [
                nn.Linear(hidden_size, hidden_size) if layer else WideLinear(n_genes, hidden_size),
                nn.BatchNorm1d(hidden_size),
                nn.SiLU(),
                nn.Dropout(dropout),
            ]
        self.encoder = nn.Sequential(*layers)
        last = nn.Linear(hidden_size, n_types) if n_hidden else WideLinear(n_genes, n_types)
        self.linear = last

    def forward(self, expression: Tensor) -> Tensor:
        """Logits, float32 (B, types), from expression (B, genes)."""
        logits: Tensor = self.linear(self.encoder(expression))
        return logits
