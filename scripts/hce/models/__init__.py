"""The models: modules from expression, float32 (B, genes), to logits, float32 (B, types).

A model may have a method `penalty`, what its last forward pass in training adds to the loss.
"""

from torch import nn

from hce.models.linear import Linear
from hce.models.mlp import MLP
from hce.models.tabnet import TabNet
from hce.registry import build

MODELS: dict[str, type] = {"linear": Linear, "mlp": MLP, "tabnet": TabNet}


def build_model(name: str, n_genes: int, n_types: int, **arguments: object) -> nn.Module:
    """Makes a model from its registry name or `package.module:Class`.

    The class is called with (n_genes, n_types, **arguments).

    Raises:
        UserError: unknown name, failed import, or refused arguments.
    """
    return build(name, MODELS, "model", n_genes, n_types, **arguments)
