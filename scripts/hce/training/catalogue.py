"""Whether the models and losses of a run can be built: tried on two cells before any long job."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from hce.errors import UserError
from hce.losses import LOSSES, HierarchicalLoss, build_loss
from hce.models import MODELS, build_model
from hce.registry import find

# What is tried is small: four types in a chain, of which the last stands alone.
GENES = 64
REACHABILITY = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).bool()
CELLS = 2


def try_catalogue(
    models: Mapping[str, Mapping[str, Any]], losses: Mapping[str, Mapping[str, Any]]
) -> None:
    """Builds every model and loss and takes a step with it, on two cells.

    Of a class that is not ours it is only known that it can be imported and takes the arguments: it
    may be made for the run's own number of genes and types.

    Args:
        models: name → class and arguments.
        losses: the same of the losses.

    Raises:
        UserError: one cannot be built or fails; names its config key.
    """
    for kind, catalogue, known in (("model", models, MODELS), ("loss", losses, LOSSES)):
        for name, spec in catalogue.items():
            try:
                if spec["class"] not in known:
                    _bind(kind, spec)
                elif kind == "model":
                    _try_model(spec)
                else:
                    _try_loss(spec)
            except Exception as error:  # a class raises whatever its arguments provoke
                reason = " ".join(str(error).split()) or repr(error)
                key = f"{'models' if kind == 'model' else 'losses'}.{name}"
                raise UserError(f"Config key {key} does not work: {reason}") from error


def _bind(kind: str, spec: Mapping[str, Any]) -> None:
    """Whether a class of somebody's can be imported and takes two arguments and its own."""
    known, base = (MODELS, torch.nn.Module) if kind == "model" else (LOSSES, HierarchicalLoss)
    found = find(spec["class"], known, kind)
    if not issubclass(found, base):
        raise UserError(f"The {kind} {spec['class']} is not derived from {base.__name__}.")
    try:
        inspect.signature(found).bind(None, None, **spec["arguments"])
    except TypeError as error:
        raise UserError(
            f"The {kind} {spec['class']} does not accept its arguments: {error}."
        ) from error


def _try_model(spec: Mapping[str, Any]) -> None:
    model = build_model(spec["class"], GENES, len(REACHABILITY), **spec["arguments"]).train()
    logits = model(torch.rand(CELLS, GENES))
    logits.sum().backward()
    if not logits.isfinite().all():
        raise UserError(f"The model {spec['class']} gives values that are no numbers.")


def _try_loss(spec: Mapping[str, Any]) -> None:
    n_types = len(REACHABILITY)
    loss = build_loss(spec["class"], REACHABILITY, torch.ones(n_types), **spec["arguments"])
    if loss.by_study:
        loss.take_targets(torch.arange(n_types), REACHABILITY)
    logits = torch.randn(CELLS, n_types, requires_grad=True)
    value = loss(logits, torch.arange(n_types)[-CELLS:])
    value.backward()
    if not value.isfinite():
        raise UserError(f"The loss {spec['class']} gives values that are no numbers.")
