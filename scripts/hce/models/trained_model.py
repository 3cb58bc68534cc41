"""A trained model in one file: weights and all that is needed to use them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from hce import __version__
from hce.errors import UserError
from hce.files import atomic_path
from hce.losses import HierarchicalLoss, build_loss
from hce.models import build_model
from hce.ontology import Hierarchy

FORMAT = 2


@dataclass(frozen=True)
class TrainedModel:
    """A model with its vocabulary.

    Attributes:
        model: in evaluation mode, on the CPU until `to` moves it.
        loss: what it was trained with, which says how its logits are read; class weights are 1.
        genes: feature_id and feature_name, in column order.
        types: cl_id and label, in index order.
        reachability: bool (C, C).
        provenance: model, loss, seed, best epoch, data, software.
    """

    model: nn.Module
    loss: HierarchicalLoss
    genes: pd.DataFrame
    types: pd.DataFrame
    reachability: np.ndarray
    provenance: Mapping[str, Any]

    def to(self, device: torch.device) -> None:
        """Moves model and loss."""
        self.model.to(device)
        self.loss.to(device)

    def probabilities(self, expression: Tensor) -> Tensor:
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
) -> None:
    """Writes a model file, atomically. It holds tensors and plain values, no code.

    Args:
        path: the file.
        model: class (registry name or `package.module:Class`) and arguments (keywords).
        loss: the same of the loss it was trained with.
        weights: state dict.
        genes: feature_id and feature_name in column order.
        hierarchy: the types.
        provenance: plain values.
        loss_reachability: bool (C, C), where the loss took another than the hierarchy's.
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
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def load_model(path: str | Path) -> TrainedModel:
    """Reads a model file without running code from it.

    Raises:
        UserError: it is no model file, or its weights do not fit its class.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT:
            raise UserError(f"{path} has model format {content['format']}, not {FORMAT}.")
        genes, types = pd.DataFrame(content["genes"]), pd.DataFrame(content["types"])
        spec = content["model"]
        model = build_model(spec["class"], len(genes), len(types), **spec["arguments"])
        model.load_state_dict(content["weights"])
        reachability, spec = content["reachability"], content["loss"]
        loss = build_loss(
            spec["class"],
            spec.get("reachability", reachability),
            torch.ones(len(types)),
            **spec["arguments"],
        )
    except UserError:
        raise
    except Exception as error:  # torch.load raises whatever its input provokes
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise UserError(f"{path} is no model file of this pipeline: {reason}.") from error
    return TrainedModel(
        model.eval(), loss, genes, types, reachability.numpy(), content["provenance"]
    )
