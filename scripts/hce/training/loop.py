"""The training loop: AdamW, a stepwise schedule, early stopping by a validation score."""

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from hce.batches.in_memory import BatchSource
from hce.batches.split import Expression
from hce.errors import UserError
from hce.losses import HierarchicalLoss
from hce.metrics import ABSENT
from hce.ontology.targets import Targets
from hce.progress import Progress
from hce.training.captured import recorded_where_possible
from hce.training.checkpoint import Checkpoint
from hce.training.device import compute_logits
from hce.training.distributed import OneProcess, check_same_start
from hce.training.optimizer import build_optimizer
from hce.training.validation import Judge, validate

logger = logging.getLogger(__name__)

ALONE = OneProcess()
# Batches after which several processes agree whether to save; agreeing waits for the GPU.
BATCHES_BETWEEN_AGREEMENTS = 20


@dataclass(frozen=True)
class TrainingSpec:
    """How a model is trained.

    Attributes:
        max_epochs: epochs at most.
        patience: epochs without a better validation score after which training stops.
        max_gradient_norm: gradients are scaled down to this norm.
        lr: learning rate of AdamW.
        weight_decay: of AdamW.
        gamma: factor on the learning rate after each epoch.
        select_by: the kind of score, one of `metrics.KINDS`, by which the best epoch is chosen.
        absent_types: what that score makes of types without cells, one of `metrics.ABSENT`.
    """

    max_epochs: int
    patience: int
    max_gradient_norm: float
    lr: float
    weight_decay: float
    gamma: float
    select_by: str = "credited"
    absent_types: str = "skip"


@dataclass(frozen=True)
class Fit:
    """A trained model.

    Attributes:
        weights: state dict of the best epoch, on the CPU.
        history: one row per epoch: epoch, lr, train_loss, val_loss, `val_<kind>_macro_f1` of
            `metrics.KINDS` in both readings of absent types (see `validate`), the same of each
            monitored set, and kept (whether the weights are of this epoch).
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
    expression: Expression,
    labels: Tensor,
    processes: OneProcess = ALONE,
    mark: Callable[[str], None] = lambda part: None,
) -> Tensor:
    """One optimiser step.

    With several processes, the batch is this one's part of the whole, and gradients and loss are
    those of the whole.

    Args:
        model: gives logits.
        loss: of logits and labels.
        optimizer: of the model's weights.
        max_gradient_norm: gradients are scaled down to this norm.
        expression: (B, genes); see `compute_logits`.
        labels: int64 (B,).
        processes: those that take the step together.
        mark: called with the name of each part of the step when it is done.

    Returns:
        The loss of the batch, detached (a scalar).
    """
    logits = compute_logits(model, expression)
    mark("forward")
    # Gradients are averaged over the processes, so each divides by the mean of their weights.
    weight = processes.sum(loss.batch_weight(labels)) / processes.world_size
    value = loss(logits, labels, weight)
    penalty = getattr(getattr(model, "module", model), "penalty", None)
    if penalty is not None:
        value = value + penalty()
    mark("loss")
    optimizer.zero_grad(set_to_none=True)
    value.backward()
    mark("backward")
    nn.utils.clip_grad_norm_(model.parameters(), max_gradient_norm)
    optimizer.step()
    mark("optimiser")
    return processes.sum(value.detach()) / processes.world_size


class _Run:
    """A fit in progress: everything that a killed fit needs to go on."""

    def __init__(self, model: nn.Module, spec: TrainingSpec, processes: OneProcess) -> None:
        self.model = model
        self.selected_by = f"val_{spec.select_by}_{ABSENT[spec.absent_types]}"
        self.processes = processes
        self.optimizer = build_optimizer(model, spec.lr, spec.weight_decay)
        self.schedule = torch.optim.lr_scheduler.StepLR(
            self.optimizer, step_size=1, gamma=spec.gamma
        )
        self.epoch = 0
        self.losses: list[Tensor] = []  # of the batches done in this epoch
        self.rows: list[dict[str, Any]] = []
        self.best_score = -1.0
        self.best_epoch = 0
        self.weights = _weights(model)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values only."""
        random = {"cpu": self.processes.gather(torch.get_rng_state())}
        if torch.cuda.is_initialized():
            random["cuda"] = self.processes.gather(torch.cuda.get_rng_state())
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": random,
            "losses": torch.stack(self.losses) if self.losses else torch.empty(0),
            "values": {
                name: getattr(self, name)
                for name in ("epoch", "rows", "best_score", "best_epoch", "weights")
            },
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        own = {name: states[self.processes.rank] for name, states in state["random"].items()}
        torch.set_rng_state(own["cpu"].clone())  # torch takes a row of a matrix for its beginning
        if "cuda" in own and torch.cuda.is_initialized():
            torch.cuda.set_rng_state(own["cuda"].clone())
        device = next(self.model.parameters()).device
        self.losses = list(state["losses"].to(device).unbind())
        for name, value in state["values"].items():
            setattr(self, name, value)

    def set_up(self) -> None:
        """What steps are made with; call when the state is restored."""
        device = next(self.model.parameters()).device
        self.step = recorded_where_possible(training_step, device, self.processes)
        self.stepping_model, self.stepping_optimizer = self.processes.set_up(
            self.model, self.optimizer
        )

    def due(self, checkpoint: Checkpoint) -> bool:
        """Whether the state should be saved before the epoch ends."""
        if self.processes.world_size == 1:
            return checkpoint.due()
        agreeing = len(self.losses) % BATCHES_BETWEEN_AGREEMENTS == 0
        first = self.processes.rank == 0
        return agreeing and self.processes.any(
            checkpoint.due() if first else checkpoint.stop_requested
        )

    def save(self, checkpoint: Checkpoint) -> None:
        """Saves the state, and stops if any process was told to.

        Raises:
            UserError: SIGTERM came.
        """
        state = self.state()
        if self.processes.rank == 0:
            checkpoint.save(state)
        checkpoint.stop_requested = self.processes.any(checkpoint.stop_requested)
        checkpoint.stop_if_requested()

    def finished(self, spec: TrainingSpec) -> bool:
        """Whether the last epoch is done or no better one can be hoped for."""
        if self.epoch and self.epoch - 1 - self.best_epoch >= spec.patience:
            logger.info("no better score for %d epochs: stopping", spec.patience)
            return True
        return self.epoch >= spec.max_epochs

    @property
    def history(self) -> pd.DataFrame:
        """See `Fit`."""
        history = pd.DataFrame(self.rows)
        return history.assign(kept=history["epoch"] == self.best_epoch)

    def end_epoch(self, row: dict[str, Any]) -> None:
        """Keeps the epoch's scores, and its weights if it is the best."""
        self.rows.append(row)
        self.schedule.step()
        if row[self.selected_by] > self.best_score:
            self.best_score, self.best_epoch = row[self.selected_by], self.epoch
            self.weights = _weights(self.model)
        self.epoch += 1
        self.losses = []


def train(
    model: nn.Module,
    loss: HierarchicalLoss,
    train_batches: BatchSource,
    val_batches: BatchSource,
    spec: TrainingSpec,
    seed: int,
    targets: Targets | None = None,
    monitored: Mapping[str, BatchSource] | None = None,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[pd.DataFrame], None] = lambda history: None,
    processes: OneProcess = ALONE,
) -> Fit:
    """Trains a model and keeps its best epoch by validation score.

    The order of the cells depends on the seed and the epoch alone. A fit that goes on from its
    checkpoint therefore sees the same batches, and ends in the same weights on the CPU.

    Args:
        model: on the device of the batches; its weights are changed.
        loss: on the same device.
        train_batches: training cells, with labels, or with targets where the loss is `by_study`.
        val_batches: validation cells, with targets.
        spec: optimiser, schedule and stopping.
        seed: of the order of the cells.
        targets: the targets of validation and monitored cells; None: their numbers are labels, and
            nothing is known of studies.
        monitored: further sets to score after every epoch; they decide nothing.
        checkpoint: where the state is kept while the fit runs; None keeps none.
        on_epoch: called with the history after every epoch.
        processes: those that train together; batches hold this one's part.

    Raises:
        UserError: fewer cells than a batch, the loss is not finite, processes would go on at
            different places, or SIGTERM came (the state is saved then).
    """
    judge = Judge.of(targets, loss)
    scored = {"val": val_batches, **(monitored or {})}
    run = _Run(model, spec, processes)
    if checkpoint is not None:
        if (saved := checkpoint.load()) is not None:
            run.restore(saved)
            logger.info("going on at batch %d of epoch %d", len(run.losses), run.epoch)
        check_same_start(checkpoint.path, run.epoch, len(run.losses), processes)
    run.set_up()
    with checkpoint.watching_sigterm() if checkpoint is not None else nullcontext():
        while not run.finished(spec):
            lr = run.schedule.get_last_lr()[0]
            _train_epoch(run, loss, train_batches, spec, seed, checkpoint)
            processes.share_statistics(model)
            row: dict[str, Any] = {
                "epoch": run.epoch,
                "lr": lr,
                "train_loss": torch.stack(run.losses).double().mean().item(),
            }
            for name, batches in scored.items():
                scores = validate(model, loss, batches, judge, processes)
                row |= {f"{name}_{score}": value for score, value in scores.items()}
            logger.info(
                "epoch %d: train loss %.4f, validation %s macro F1 %.4f",
                *(run.epoch, row["train_loss"]),
                *(spec.select_by.replace("_", "-"), row[run.selected_by]),
            )
            run.end_epoch(row)
            on_epoch(run.history)
            if checkpoint is not None:
                run.save(checkpoint)
    return Fit(run.weights, run.history, run.best_epoch)


def _train_epoch(
    run: _Run,
    loss: HierarchicalLoss,
    batches: BatchSource,
    spec: TrainingSpec,
    seed: int,
    checkpoint: Checkpoint | None,
) -> None:
    """Trains what is left of the epoch, saving the state now and then."""
    run.model.train()
    order = np.random.default_rng([seed, run.epoch])
    progress = Progress(
        f"epoch {run.epoch}", len(batches), done=len(run.losses) * batches.batch_size
    )
    for expression, labels in batches.shuffled(order, skip=len(run.losses)):
        run.losses.append(
            run.step(
                run.stepping_model,
                loss,
                run.stepping_optimizer,
                spec.max_gradient_norm,
                expression,
                labels,
                run.processes,
            )
        )
        progress.advance(len(labels) * run.processes.world_size)
        if checkpoint is not None and run.due(checkpoint):
            _check_finite(run.losses, run.epoch, seed)
            run.save(checkpoint)
    _check_finite(run.losses, run.epoch, seed)
    progress.end()


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy on the CPU, laid out row by row whatever suits the model."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }


def _check_finite(losses: list[Tensor], epoch: int, seed: int) -> None:
    """Looks at many losses at once, since looking at each would wait for the GPU."""
    finite = torch.isfinite(torch.stack(losses))
    if not finite.all():
        batch = int((~finite).nonzero()[0, 0])
        raise UserError(
            f"The loss is not finite at batch {batch} of epoch {epoch} (seed {seed}): lower the "
            "learning rate in models, or look at the loss."
        )
