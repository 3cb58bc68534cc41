"""The models: modules from expression, float32 (B, genes), to logits, float32 (B, types).

A model can have a method `penalty`, which returns what the last forward pass in training adds to
the loss, and an attribute `takes_sparse`: if it is true, expression on the CPU can be a
`batches.split.SplitBatch`.
"""

import torch
from torch import Tensor, nn

from hce.errors import UserError
from hce.models.linear import Linear
from hce.models.mlp import MLP
from hce.models.tabnet import TabNet
from hce.registry import build

MODELS: dict[str, type] = {"linear": Linear, "mlp": MLP, "tabnet": TabNet}


def build_model(name: str, n_genes: int, n_types: int, **arguments: object) -> nn.Module:
    """Makes a model from its registry name or `package.module:Class`.

    The class is called with (n_genes, n_types, **arguments).

    Raises:
        UserError: the name is unknown, the import fails, the class does not accept the arguments,
        or
            it does not return logits.
    """
    model = build(name, MODELS, "model", n_genes, n_types, **arguments)
    if not isinstance(model, nn.Module):
        raise UserError(f"The model {name} is not a torch.nn.Module: derive its class from that.")
    _check_logits(name, model, n_genes, n_types)
    return model


def takes_sparse(model: nn.Module) -> bool:
    """Whether batches may be sparse, see above."""
    return bool(getattr(model, "takes_sparse", False))


@torch.no_grad()
def _check_logits(name: str, model: nn.Module, n_genes: int, n_types: int) -> None:
    """Tries a model of another package on two cells, to find mistakes early."""
    if name in MODELS:
        return
    expected = f"logits (cells, {n_types}) from expression (cells, {n_genes})"
    try:
        logits = model.eval()(torch.zeros(2, n_genes))
    except Exception as error:  # the class of a user can raise any error
        reason = " ".join(str(error).split())
        raise UserError(
            f"The model {name} fails on two cells: its forward has to return {expected} ({reason})."
        ) from error
    finally:
        model.train()
    if not isinstance(logits, Tensor) or logits.shape != (2, n_types):
        found = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits)
        raise UserError(
            f"The model {name} returns {found} for two cells: its forward has to return {expected}."
        )
