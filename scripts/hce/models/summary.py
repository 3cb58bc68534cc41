"""Describes the models of a run: layers in words, parameters, and training."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from hce.models import MODELS
from hce.models.trained_model import TrainedModel

COLUMNS = [
    *("model", "class", "origin", "genes", "layers", "types", "parameters"),
    *("lr", "lr_factor", "weight_decay", "augmentation"),
]
ARROW = " → "


def describe_models(models: Mapping[str, TrainedModel]) -> pd.DataFrame:
    """Describes each model of a run by one of its model files.

    Args:
        models: name → any of its fits, or its published checkpoint.

    Returns:
        One row per model: model, class, origin (`trained` or `published`), genes, layers (see
        `describe_layers`), types, parameters (trainable numbers, shared ones once), lr, lr_factor
        (on the learning rate after each epoch), weight_decay, augmentation (`yes` or `no`). Values
        that a published checkpoint does not record are missing.
    """
    rows = [{"model": name} | _describe(trained) for name, trained in models.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def _describe(trained: TrainedModel) -> dict[str, Any]:
    spec = trained.provenance["model"]
    shape = len(trained.genes), len(trained.types)
    published = trained.provenance.get("published")
    return {
        "class": spec["class"],
        "origin": "trained" if published is None else "published",
        "genes": shape[0],
        "layers": describe_layers(spec["class"], *shape, spec["arguments"]),
        "types": shape[1],
        "parameters": sum(weights.numel() for weights in trained.model.parameters()),
    } | (_training(spec) if published is None else _published_training(published))


def _training(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Settings from an entry of the catalogue of models."""
    return {
        "lr": spec["optimizer"]["lr"],
        "lr_factor": spec["schedule"]["gamma"],
        "weight_decay": spec["optimizer"]["weight_decay"],
        "augmentation": "yes" if spec["augmentation"] else "no",
    }


def _published_training(published: Mapping[str, Any]) -> dict[str, Any]:
    """Settings from a checkpoint; its entry in the catalogue has only class and arguments."""
    recorded = published["hyper_parameters"]
    return {
        "lr": recorded.get("learning_rate"),
        "lr_factor": (recorded.get("lr_scheduler_kwargs") or {}).get("gamma"),
        "weight_decay": recorded.get("weight_decay"),
        "augmentation": "yes" if published["augmentation"] else "no",
    }


def describe_layers(name: str, n_genes: int, n_types: int, arguments: Mapping[str, Any]) -> str:
    """The layers from genes to types in words, joined by arrows.

    Each is `title` or `title (detail, detail)`; `8 × title` means eight consecutive layers.

    Args:
        name: class of the model, a registry name or `package.module:Class`.
        n_genes: width of its input.
        n_types: width of its output.
        arguments: further arguments of the class; the others have their defaults.
    """
    if name not in MODELS:
        module, _, own = name.partition(":")
        return f"{own} ({module})"
    bound = inspect.signature(MODELS[name]).bind(n_genes, n_types, **arguments)
    bound.apply_defaults()
    return ARROW.join(_LAYERS[name](**bound.arguments))


def _linear_layers(**_: Any) -> Sequence[str]:
    return ["affine layer"]


def _mlp_layers(hidden_size: int, n_hidden: int, dropout: float, **_: Any) -> Sequence[str]:
    details = f"width {hidden_size}, batch norm, SiLU, dropout {dropout:g}"
    hidden = [f"{_times(n_hidden)}hidden layer ({details})"] if n_hidden else []
    return [*hidden, "affine layer"]


def _tabnet_layers(
    n_d: int, n_a: int, n_steps: int, n_shared: int, n_independent: int, **_: Any
) -> Sequence[str]:
    counts = {"shared": n_shared, "own": n_independent}
    layers = [f"{count} {kind}" for kind, count in counts.items() if count]
    return [
        f"gated layers ({', '.join(layers)}, width {n_d} + {n_a})",
        f"{_times(n_steps)}mask of genes (1.5-entmax, then gated layers)",
        "linear layer",
    ]


def _times(count: int) -> str:
    return f"{count} × " if count > 1 else ""


_LAYERS: dict[str, Callable[..., Sequence[str]]] = {
    "linear": _linear_layers,
    "mlp": _mlp_layers,
    "tabnet": _tabnet_layers,
}
