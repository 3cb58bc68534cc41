"""The paper's own checkpoints, read without running code from them.

They are PyTorch Lightning checkpoints with the model's weights under `classifier.`, buffers of the
training code, and hyper-parameters that include the classes AdamW and StepLR. They do not name
types and genes. Types are in code-point order of their labels, which can be checked with the
hierarchy in the checkpoint; of the genes, only the number is known.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from hce.errors import UserError
from hce.files import check_unpacked, sha256_of
from hce.models import build_model
from hce.models.trained_model import save_model
from hce.ontology import Hierarchy

logger = logging.getLogger(__name__)

PREFIX = "classifier."
# Names of the last layer's weights in TabNet, the MLP and the linear model.
LAST = ("final_mapping.weight", "linear.weight", "weight")
# What a checkpoint may contain besides tensors and plain values.
ALLOWED: list[Any] = [
    torch.optim.AdamW,
    torch.optim.lr_scheduler.StepLR,
    np.dtype,
    np.ndarray,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "u1", "?")),
    # numpy's function for its scalars, with its names before and since numpy 2
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
]
# Share of the pairs (ancestor, descendant) in which the two hierarchies may differ: releases of the
# ontology differ in single pairs, other orders of the types in nearly all.
TOLERATED = 0.1


@dataclass(frozen=True)
class PublishedModel:
    """A model of the paper.

    Attributes:
        model: in evaluation mode, on the CPU.
        augmentations: float32 (vectors, genes) it was trained with; None if it has none.
        provenance: file, sha256, epoch, hyper-parameters; plain values.
    """

    model: nn.Module
    augmentations: Tensor | None
    provenance: Mapping[str, Any]


def read_published_checkpoint(
    path: str | Path,
    model_class: str,
    arguments: Mapping[str, Any],
    genes: Sequence[str],
    types: Sequence[str],
    reachability: np.ndarray | None = None,
) -> PublishedModel:
    """Reads a checkpoint of the paper's code.

    Args:
        path: the file.
        model_class: registry name or `package.module:Class` of the expected model.
        arguments: keyword arguments of the class.
        genes: the genes of the columns of the expression.
        types: labels in index order.
        reachability: bool (C, C) over the types, to compare with the checkpoint's; None: without.

    Raises:
        UserError: it is not such a checkpoint, would run code, or has other genes, types or another
            architecture.
    """
    if list(types) != sorted(types):
        raise UserError(
            f"{path} has its types in code-point order of their labels, but the run's are in "
            "another order: number the types by sorted label."
        )
    content = _load(path)
    state = content["state_dict"]
    weights = {
        name.removeprefix(PREFIX): value
        for name, value in state.items()
        if name.startswith(PREFIX) and isinstance(value, Tensor)
    }
    _check_sizes(path, weights, state, len(genes), len(types))
    if reachability is not None and "child_lookup" in state:
        _check_hierarchy(path, state["child_lookup"].numpy() > 0, reachability, types)
    model = build_model(model_class, len(genes), len(types), **arguments)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} does not have the weights of a {model_class} with the arguments "
            f"{dict(arguments)}: give the class and arguments it was trained with ({reason:.300})."
        ) from error
    provenance = {
        "file": Path(path).name,
        "sha256": sha256_of(path),
        "epoch": _plain(content.get("epoch")),
        "global_step": _plain(content.get("global_step")),
        "hyper_parameters": _plain(content.get("hyper_parameters", {})),
    }
    return PublishedModel(model.eval(), state.get("augmentations"), provenance)


def convert_checkpoint(
    path: str | Path,
    model_path: str | Path,
    model: Mapping[str, Any],
    loss: Mapping[str, Any],
    genes: pd.DataFrame,
    hierarchy: Hierarchy,
    seed: int,
    mean_reachability: np.ndarray | None = None,
) -> None:
    """Makes a model file of a checkpoint of the paper's code.

    Args:
        path: the checkpoint.
        model_path: output, see `model_file`.
        model: class and arguments of the expected model.
        loss: class and arguments of the loss that it was trained with.
        genes: feature_id and feature_name of the run, in column order.
        hierarchy: the run's types.
        seed: seed under which the run lists it.
        mean_reachability: of the run's training studies, see `TrainedModel`.

    Raises:
        UserError: see `read_published_checkpoint`.
    """
    found = read_published_checkpoint(
        path,
        model["class"],
        model["arguments"],
        genes["feature_id"].tolist(),
        hierarchy.labels,
        hierarchy.reachability,
    )
    save_model(
        model_path,
        model,
        loss,
        found.model.state_dict(),
        genes,
        hierarchy,
        published_provenance(found, model, loss, seed),
        mean_reachability=mean_reachability,
    )


def published_provenance(
    found: PublishedModel, model: Mapping[str, Any], loss: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """What a model file says of where it is from."""
    return {
        "model": dict(model),
        "loss": dict(loss),
        "seed": seed,
        "best_epoch": found.provenance["epoch"],
        "published": {
            **found.provenance,
            "augmentation": found.augmentations is not None,
        },
    }


def read_augmentations(path: str | Path) -> np.ndarray:
    """The augmentation vectors that a published model was trained with, (vectors, genes).

    Raises:
        UserError: it is not such a checkpoint, or it has no vectors.
    """
    vectors = _load(path)["state_dict"].get("augmentations")
    if not isinstance(vectors, Tensor):
        raise UserError(
            f"{path} has no augmentation vectors: name the checkpoint of an MLP or a TabNet."
        )
    return vectors.numpy()


def _load(path: str | Path) -> dict[str, Any]:
    try:
        check_unpacked(path)
        with torch.serialization.safe_globals(ALLOWED):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"There is no checkpoint {path}: correct its path.") from error
    except Exception as error:  # torch.load raises errors of many kinds
        reason = " ".join(str(error).split())
        found = reason.partition("GLOBAL ")[2].split(" ")[0]
        if found:
            raise UserError(
                f"{path} was not read, because it contains {found}, which could run code: use a "
                "checkpoint as the paper's authors published it."
            ) from error
        raise UserError(f"{path} is not a checkpoint: fetch it again ({reason:.200}).") from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not any(str(name).startswith(PREFIX) for name in state):
        raise UserError(
            f"{path} is not a Lightning checkpoint of the paper's code: it has no weights under "
            f"{PREFIX} in its state_dict."
        )
    return content


def _check_sizes(
    path: str | Path,
    weights: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    n_genes: int,
    n_types: int,
) -> None:
    """Numbers of genes and types, from the first and the last layer and the buffers."""
    first = next((value.shape[1] for value in weights.values() if value.ndim == 2), n_genes)
    if first != n_genes:
        raise UserError(
            f"{path} is a model of {first} genes, but the run has {n_genes}: use the genes it "
            "was trained on, in their order."
        )
    last = next((weights[name].shape[0] for name in LAST if name in weights), n_types)
    if last != n_types:
        raise UserError(
            f"{path} is a model of {last} types, but the run has {n_types}: use the types it was "
            "trained on."
        )
    expected = {
        "class_weights": (n_types,),
        "child_lookup": (n_types, n_types),
        "child_lookup_transposed": (n_types, n_types),
    }
    for name, shape in expected.items():
        if name in state and tuple(state[name].shape) != shape:
            raise UserError(
                f"{path} is inconsistent: its weights are for {n_types} types, but its buffer "
                f"{name} has shape {tuple(state[name].shape)}; download it again."
            )


def _check_hierarchy(
    path: str | Path, theirs: np.ndarray, ours: np.ndarray, types: Sequence[str]
) -> None:
    own = np.eye(len(ours), dtype=bool)
    differing = np.argwhere((theirs != ours) & ~own)
    if len(differing) == 0:
        return
    above, below = differing[0]
    example = f"{types[below]} is below {types[above]} in only one of them"
    if len(differing) > TOLERATED * (ours & ~own).sum():
        raise UserError(
            f"{path} has its types in another order or another hierarchy: {len(differing)} pairs "
            f"differ ({example}); use the types it was trained on."
        )
    logger.warning("%s: the hierarchy differs in %d pairs (%s)", path, len(differing), example)


def _plain(value: Any) -> Any:
    """Plain values instead of classes, tensors and numpy's scalars."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, str | int | float | bool | None) else repr(value)
