"""Losses that know the hierarchy.

Notation: logits z (B, C), p = softmax(z), reachability R (C, C) with R[i, j] = 1 where type j is
i or a descendant of i, label y. The probability of a label is the sum over it and its
descendants, s_y = Σ_j R[y, j] p_j. Source: Cultrera di Montesano, D'Ascenzo et al., Nature
Computational Science 2026, doi 10.1038/s43588-025-00945-z.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from hce.registry import build

# The published code's ε in −log(s + ε); it bounds the loss of a cell at 13.8.
EPSILON = 1e-6


class HierarchicalLoss(nn.Module, ABC):
    """Base of all losses: a value for each cell, and their weighted mean.

    Args:
        reachability: bool (C, C), R as above.
        class_weights: float32 (C,), weight of a cell of each label.
    """

    reachability: Tensor
    class_weights: Tensor

    def __init__(self, reachability: Tensor, class_weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("reachability", reachability.bool())
        self.register_buffer("class_weights", class_weights.float())

    @abstractmethod
    def per_cell(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Unweighted loss of each cell, float32 (B,), from logits (B, C) and labels int64 (B,)."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Weighted mean over the batch, as torch's `nll_loss` with `weight`."""
        weights = self.class_weights[labels]
        return (weights * self.per_cell(logits, labels)).sum() / weights.sum()


class CrossEntropy(HierarchicalLoss):
    """Cross-entropy, −log p_y; ignores the hierarchy."""

    def per_cell(self, logits: Tensor, labels: Tensor) -> Tensor:
        """−log p_y."""
        return functional.cross_entropy(logits, labels, reduction="none")


class HierarchicalCrossEntropy(HierarchicalLoss):
    """Hierarchical cross-entropy as published, −log(s_y + ε)."""

    def per_cell(self, logits: Tensor, labels: Tensor) -> Tensor:
        """−log(s_y + ε)."""
        # Only the label's row of R p is needed.
        below = self.reachability[labels]
        return -torch.log((logits.softmax(dim=1) * below).sum(dim=1) + EPSILON)


class LogHierarchicalCrossEntropy(HierarchicalLoss):
    """Hierarchical cross-entropy in log space, −log s_y, without ε.

    log s_y = logsumexp of z over y and its descendants − logsumexp of z. Keeps a gradient at any
    gap between logits, where the published form is flat.
    """

    def per_cell(self, logits: Tensor, labels: Tensor) -> Tensor:
        """−log s_y."""
        below = self.reachability[labels]
        inside = logits.masked_fill(~below, -torch.inf).logsumexp(dim=1)
        return logits.logsumexp(dim=1) - inside


LOSSES: dict[str, type] = {
    "ce": CrossEntropy,
    "hce": HierarchicalCrossEntropy,
    "hce_log": LogHierarchicalCrossEntropy,
}


def build_loss(
    name: str, reachability: Tensor, class_weights: Tensor, **arguments: object
) -> HierarchicalLoss:
    """Makes a loss from its registry name or `package.module:Class`.

    Raises:
        UserError: unknown name, failed import, or refused arguments.
    """
    return build(name, LOSSES, "loss", reachability, class_weights, **arguments)
