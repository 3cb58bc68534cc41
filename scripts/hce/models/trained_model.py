"""A trained model in one file: its weights and everything needed to use them."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from hce import __version__
from hce.batches.split import Expression
from hce.errors import UserError
from hce.files import atomic_path, check_members, check_unpacked
from hce.losses import LOSSES, HierarchicalLoss, build_loss
from hce.models import MODELS, build_model
from hce.ontology import Hierarchy
from hce.ontology.hierarchy import check_reachability
from hce.registry import check_class

FORMAT = 2


@dataclass(frozen=True)
class TrainedModel:
    """A model with its loss, genes and types.

    Attributes:
        model: in evaluation mode, on the CPU until `to` moves it.
        loss: the loss it was trained with, which turns logits into probabilities; class weights
            are 1.
        genes: feature_id and feature_name, in column order.
        types: cl_id and label, in index order.
        reachability: bool (C, C).
        provenance: model, loss, seed, best epoch, data, software.
        mean_reachability: float32 (C, C), R̄, see `Targets.mean_reachability`; None where nothing
            is known of the studies that it was trained on.
    """

    model: nn.Module
    loss: HierarchicalLoss
    genes: pd.DataFrame
    types: pd.DataFrame
    reachability: np.ndarray
    provenance: Mapping[str, Any]
    mean_reachability: np.ndarray | None = None

    def to(self, device: torch.device) -> None:
        """Moves model and loss."""
        self.model.to(device)
        self.loss.to(device)

    def probabilities(self, expression: Expression) -> Tensor:
        """Probability of each type, float32 (B, C), from expression (B, genes) on its device."""
        return self.loss.probabilities(self.model(expression))


def save_model(
    path: str | Path,
    model: Mapping[str, Any],
    loss: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    genes: pd.DataFrame,
    hierarchy: Hierarchy,
    provenance: Mapping[str, Any],
    loss_reachability: np.ndarray | None = None,
    mean_reachability: np.ndarray | None = None,
) -> None:
    """Writes a model file, atomically. It contains tensors and plain values, but no code.

    Args:
        path: the file.
        model: class (registry name or `package.module:Class`) and arguments (keywords).
        loss: class and arguments of the loss it was trained with.
        weights: state dict.
        genes: feature_id and feature_name in column order.
        hierarchy: the types.
        provenance: plain values.
        loss_reachability: bool (C, C), if the loss used another one than the hierarchy's.
        mean_reachability: see TrainedModel.
    """
    read_out: dict[str, Any] = {"class": loss["class"], "arguments": dict(loss["arguments"])}
    if loss_reachability is not None:
        read_out["reachability"] = torch.from_numpy(loss_reachability.copy())
    content = {
        "format": FORMAT,
        "software": f"hce {__version__}, torch {torch.__version__}",
        "model": {"class": model["class"], "arguments": dict(model["arguments"])},
        "loss": read_out,
        "weights": dict(weights),
        "genes": genes.to_dict("list"),
        "types": hierarchy.types[["cl_id", "label"]].to_dict("list"),
        "reachability": torch.from_numpy(hierarchy.reachability.copy()),
        "provenance": dict(provenance),
    }
    if mean_reachability is not None:
        content["mean_reachability"] = torch.from_numpy(mean_reachability)
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def load_model(path: str | Path, trusted: Container[str] = ()) -> TrainedModel:
    """Reads a model file without running code from it.

    Args:
        path: the file.
        trusted: classes outside of hce that may be imported, see `config.named_classes`.

    Raises:
        UserError: it is not a model file, is damaged, names another class, its weights do not fit
            its class or are not numbers, or its types are inconsistent.
    """
    try:
        check_unpacked(path)
        check_members(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT:
            raise UserError(f"{path} has model format {content['format']}, not {FORMAT}.")
        check_class(path, "model", content["model"]["class"], MODELS, trusted)
        check_class(path, "loss", content["loss"]["class"], LOSSES, trusted)
        loss_reachability = content["loss"].get("reachability")
        mean_reachability = content.get("mean_reachability")
        return assemble(
            content["model"],
            content["loss"],
            content["weights"],
            pd.DataFrame(content["genes"]),
            pd.DataFrame(content["types"]),
            content["reachability"].numpy(),
            content["provenance"],
            None if loss_reachability is None else loss_reachability.numpy(),
            None if mean_reachability is None else mean_reachability.numpy(),
        )
    except UserError:
        raise
    except Exception as error:  # torch.load raises errors of many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise UserError(f"{path} is not a model file of this pipeline: {reason}.") from error


def assemble(
    model: Mapping[str, Any],
    loss: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    genes: pd.DataFrame,
    types: pd.DataFrame,
    reachability: np.ndarray,
    provenance: Mapping[str, Any],
    loss_reachability: np.ndarray | None = None,
    mean_reachability: np.ndarray | None = None,
) -> TrainedModel:
    """Assembles a model from the contents of a file, after checking them.

    Args:
        model: class and arguments of the model.
        loss: class and arguments of the loss.
        weights: state dict.
        genes: feature_id and feature_name, in column order.
        types: cl_id and label, in index order.
        reachability: bool (C, C).
        provenance: plain values.
        loss_reachability: bool (C, C), if the loss used another one.
        mean_reachability: see TrainedModel.

    Raises:
        ValueError: the weights do not have the sizes of the class, are too few for its layers or
            are not numbers, a gene or a type occurs twice, or the hierarchy is impossible.
        UserError: see `build_model` and `build_loss`.
    """
    for table, column in ((genes, "feature_id"), (types, "cl_id"), (types, "label")):
        if (twice := table[column].duplicated()).any():
            raise ValueError(f"its {column} {table[column][twice].iloc[0]!r} occurs twice")
    for matrix in (reachability, loss_reachability):
        if matrix is not None:
            check_reachability(matrix, len(types))
    if mean_reachability is not None:
        _check_mean(mean_reachability, reachability)
    for name, values in weights.items():
        if values.is_floating_point() and not values.isfinite().all():
            raise ValueError(f"its weights {name} have values that are not numbers")
    if model["class"] in MODELS:  # the sizes of classes of hce are known before memory is allocated
        _check_layers(model["arguments"], len(weights))
        with torch.device("meta"):
            described = build_model(model["class"], len(genes), len(types), **model["arguments"])
        if _sizes(described.state_dict()) != _sizes(weights):
            raise ValueError(f"its weights do not fit the {model['class']} that it describes")
    module = build_model(model["class"], len(genes), len(types), **model["arguments"])
    module.load_state_dict(weights)
    reads_out = reachability if loss_reachability is None else loss_reachability
    read_out = build_loss(
        loss["class"], torch.from_numpy(reads_out), torch.ones(len(types)), **loss["arguments"]
    )
    return TrainedModel(
        module.eval(), read_out, genes, types, reachability, provenance, mean_reachability
    )


def _check_layers(arguments: Mapping[str, Any], n_weights: int) -> None:
    """Raises ValueError where a class of hce would make more layers than there are weights.

    Each layer has weights of its own; even without memory, making millions takes hours.
    """
    numbers = {name: value for name, value in arguments.items() if isinstance(value, int)}
    gated = numbers.get("n_shared", 1) + numbers.get("n_independent", 1)  # of each step of TabNet
    if max(numbers.get("n_hidden", 0), numbers.get("n_steps", 1) * gated) > n_weights:
        raise ValueError(f"its {n_weights} weights are fewer than the layers that it describes")


def _check_mean(mean: np.ndarray, reachability: np.ndarray) -> None:
    """Raises ValueError where a matrix is no mean of restricted reachabilities."""
    shape = mean.shape == reachability.shape
    if (
        not shape
        or not ((mean >= 0) & (mean <= reachability)).all()
        or (mean.diagonal() != 1).any()
    ):
        raise ValueError("its mean reachability is not one of its types")


def _sizes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Sizes by name; a single number is a list of one in older model files."""
    return {name: tuple(values.shape) or (1,) for name, values in weights.items()}
