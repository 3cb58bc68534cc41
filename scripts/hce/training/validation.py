"""Scoring a model on the cells of a set after an epoch."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hce.batches.in_memory import BatchSource
from hce.losses import HierarchicalLoss
from hce.metrics import ABSENT, KINDS, credit, macro_f1
from hce.ontology.targets import Targets
from hce.training.device import compute_logits
from hce.training.distributed import OneProcess


@dataclass(frozen=True)
class Judge:
    """What answers are held against.

    Attributes:
        labels: int64 (T,), the label of each target.
        answers: bool (T, C), the answers that its study leaves to it.
    """

    labels: Tensor
    answers: Tensor

    @classmethod
    def of(cls, targets: Targets | None, loss: HierarchicalLoss) -> "Judge":
        """On the device of the loss; without targets a set's numbers are labels, and R decides."""
        if targets is None:
            targets = Targets.unrestricted(loss.reachability.cpu().numpy())
        device = loss.reachability.device
        return cls(
            torch.from_numpy(targets.labels).to(device),
            torch.from_numpy(targets.answers).to(device),
        )


@torch.no_grad()
def validate(
    model: nn.Module,
    loss: HierarchicalLoss,
    batches: BatchSource,
    judge: Judge,
    processes: OneProcess,
) -> dict[str, float]:
    """Scores a model on the cells of a set.

    Args:
        model: gives logits.
        loss: says how types are read from them.
        batches: of expression and target.
        judge: says what the targets are.
        processes: those that score together; batches hold this one's part.

    Returns:
        `loss`, unweighted: on the targets where the loss knows the studies, else on credited labels
        (a prediction below the label replaces it, as published); and for each of `metrics.KINDS`
        `<kind>_macro_f1`, and `<kind>_macro_f1_union`, in which types without cells that are
        predicted count as 0 (see `macro_f1`).
    """
    model.eval()
    reachability = loss.reachability
    n_types = len(reachability)
    # Summed up where the model is, so that a GPU is waited for once.
    exact = torch.zeros(n_types * n_types, dtype=torch.int64, device=reachability.device)
    study_aware = torch.zeros_like(exact)
    total = torch.zeros((), dtype=torch.float64, device=reachability.device)
    for expression, targets in batches.in_order():
        labels = judge.labels[targets]
        logits = compute_logits(model, expression)
        prediction = loss.probabilities(logits).argmax(dim=1)
        credited = torch.where(reachability[labels, prediction], prediction, labels)
        total += loss.per_cell(logits, targets if loss.by_study else credited).double().sum()
        one = torch.ones_like(labels)
        exact.index_add_(0, labels * n_types + prediction, one)
        answer = torch.where(judge.answers[targets, prediction], labels, prediction)
        study_aware.index_add_(0, labels * n_types + answer, one)
    counts = processes.sum(torch.stack([exact, study_aware])).view(2, n_types, n_types)
    tables = dict(zip(("exact", "study_aware"), counts.cpu().numpy(), strict=True))
    tables["credited"] = credit(tables["exact"], reachability.cpu().numpy())
    scores = {
        f"{kind}_{name}": float(np.asarray(macro_f1(tables[kind], absent=absent)))
        for absent, name in ABSENT.items()
        for kind in KINDS
    }
    return {"loss": processes.sum(total).item() / len(batches), **scores}
