"""The training loop: AdamW, a stepwise schedule, early stopping on credited macro F1."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from hce.errors import UserError
from hce.loader import Batches
from hce.losses import HierarchicalLoss
from hce.metrics import confusion, credit, macro_f1

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        max_epochs: epochs at most.
        patience: epochs without a better validation score after which training stops.
        max_gradient_norm: gradients are scaled down to this norm.
        lr: learning rate of AdamW.
        weight_decay: of AdamW.
        gamma: factor on the learning rate after each epoch.
    """

    max_epochs: int
    patience: int
    max_gradient_norm: float
    lr: float
    weight_decay: float
    gamma: float


@dataclass(frozen=True)
class Fit:
    """A trained model.

    Attributes:
        weights: state dict of the best epoch, on the CPU.
        history: a row an epoch: epoch, lr, train_loss, val_loss, val_credited_macro_f1,
            val_exact_macro_f1.
        best_epoch: the epoch of the weights.
    """

    weights: Mapping[str, Tensor]
    history: pd.DataFrame
    best_epoch: int


def training_step(
    model: nn.Module,
    loss: HierarchicalLoss,
    optimizer: torch.optim.Optimizer,
    max_gradient_norm: float,
    expression: Tensor,
    labels: Tensor,
) -> Tensor:
    """One optimiser step; returns the loss of the batch, detached (a scalar)."""
    value = loss(model(expression), labels)
    optimizer.zero_grad(set_to_none=True)
    value.backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_gradient_norm)
    optimizer.step()
    return value.detach()


@torch.no_grad()
def validate(
    model: nn.Module, loss: HierarchicalLoss, batches: Batches, reachability: np.ndarray
) -> tuple[float, float, float]:
    """Scores a model on validation cells.

    Returns:
        The unweighted loss on credited targets (a prediction below the label replaces it, as
        published), credited macro F1 and exact macro F1.
    """
    model.eval()
    n_types = len(reachability)
    counts = np.zeros((1, n_types, n_types), dtype=np.int64)
    total = 0.0
    for expression, labels in batches.in_order():
        logits = model(expression)
        prediction = logits.argmax(dim=1)
        credited = loss.reachability[labels, prediction]
        targets = torch.where(credited, prediction, labels)
        total += loss.per_cell(logits, targets).double().sum().item()
        counts += confusion(labels.cpu().numpy(), prediction.cpu().numpy(), n_types)
    return (
        total / len(batches),
        float(macro_f1(credit(counts, reachability))[0]),
        float(macro_f1(counts)[0]),
    )


def train(
    model: nn.Module,
    loss: HierarchicalLoss,
    train_batches: Batches,
    val_batches: Batches,
    recipe: Recipe,
    seed: int,
) -> Fit:
    """Trains a model and keeps its best epoch by validation score.

    Args:
        model: on the device of the batches; its weights are changed.
        loss: on the same device.
        train_batches: training cells.
        val_batches: validation cells.
        recipe: optimiser, schedule and stopping.
        seed: of the order of the cells.

    Raises:
        UserError: fewer cells than a batch, or the loss is not finite.
    """
    reachability = loss.reachability.cpu().numpy()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=recipe.gamma)
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    best_score, best_epoch, weights = -1.0, 0, _weights(model)
    for epoch in range(recipe.max_epochs):
        start = time.perf_counter()
        model.train()
        losses: list[Tensor] = []
        for expression, labels in train_batches.shuffled(rng):
            losses.append(
                training_step(model, loss, optimizer, recipe.max_gradient_norm, expression, labels)
            )
        _check_finite(losses, epoch, seed)
        seconds = time.perf_counter() - start
        val_loss, credited, exact = validate(model, loss, val_batches, reachability)
        rows.append(
            {
                "epoch": epoch,
                "lr": schedule.get_last_lr()[0],
                "train_loss": torch.stack(losses).double().mean().item(),
                "val_loss": val_loss,
                "val_credited_macro_f1": credited,
                "val_exact_macro_f1": exact,
            }
        )
        logger.info(
            "epoch %d: train loss %.4f, validation credited macro F1 %.4f, %.0f cells/s",
            epoch,
            rows[-1]["train_loss"],
            credited,
            len(train_batches) / seconds,
        )
        schedule.step()
        if credited > best_score:
            best_score, best_epoch, weights = credited, epoch, _weights(model)
        if epoch - best_epoch >= recipe.patience:
            logger.info("no better score for %d epochs: stopping", recipe.patience)
            break
    return Fit(weights, pd.DataFrame(rows), best_epoch)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _check_finite(losses: list[Tensor], epoch: int, seed: int) -> None:
    """Looks at the losses once an epoch, since looking at each would wait for the GPU."""
    if not losses:
        raise UserError("There are fewer training cells than training.batch_size: lower it.")
    finite = torch.isfinite(torch.stack(losses))
    if not finite.all():
        batch = int((~finite).nonzero()[0, 0])
        raise UserError(
            f"The loss is not finite at batch {batch} of epoch {epoch} (seed {seed}): lower the "
            "learning rate in models, or look at the loss."
        )
