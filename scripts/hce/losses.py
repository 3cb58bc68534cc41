"""Losses that know the hierarchy.

Notation: logits z (B, C), p = softmax(z), reachability R (C, C) with R[i, j] = 1 where type j is
i or a descendant of i, label y. The probability of a label is the sum over it and its
descendants, s_y = Σ_j R[y, j] p_j. Source: Cultrera di Montesano, D'Ascenzo et al., Nature
Computational Science 2026, doi 10.1038/s43588-025-00945-z.

All losses here are −f_y for some score f of each type, such as log p or log s. Label smoothing by α
is the loss that is expected if each label is replaced, with probability α, by a type drawn
uniformly: −(1 − α) f_y − α mean_j f_j. For cross-entropy this is torch's `label_smoothing`.

Losses that know the studies take *targets* in place of labels: numbers of pairs of a study k and a
label y, each with a row of its own, R_k[y, :], in place of R[y, :] (see `hce.ontology.targets`).
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from hce.errors import UserError
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

    @property
    def by_study(self) -> bool:
        """Whether it takes targets in place of labels."""
        return False

    def take_targets(self, labels: Tensor, answers: Tensor) -> None:
        """Says what the targets are; called before the first step of a loss that is `by_study`.

        Args:
            labels: int64 (T,), the label of each.
            answers: bool (T, C), its row of R_k.

        Raises:
            UserError: the loss takes none.
        """
        raise UserError(f"The loss {type(self).__name__} takes no targets: define take_targets.")

    def labels_of(self, labels: Tensor) -> Tensor:
        """The labels of cells, int64 (B,), from what the loss takes for them."""
        return labels

    @abstractmethod
    def per_cell(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Unweighted loss of each cell, float32 (B,), from logits (B, C) and labels int64 (B,)."""

    def batch_weight(self, labels: Tensor) -> Tensor:
        """Weight of some cells together, a scalar."""
        return self.class_weights[self.labels_of(labels)].sum()

    def forward(self, logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
        """Weighted mean over the batch, as torch's `nll_loss` with `weight`.

        Args:
            logits: float (B, C).
            labels: int64 (B,); targets where the loss is `by_study`.
            weight: what the weighted sum is divided by, where it is not the batch's own weight.
        """
        weights = self.class_weights[self.labels_of(labels)]
        total = (weights * self.per_cell(logits, labels)).sum()
        return total / (self.batch_weight(labels) if weight is None else weight)

    def probabilities(self, logits: Tensor) -> Tensor:
        """What a model trained with this loss says, float (B, C): from these types are read."""
        return logits.softmax(dim=1)


class ScoreLoss(HierarchicalLoss):
    """A loss of the form −f_y, with label smoothing.

    Args:
        reachability: see HierarchicalLoss.
        class_weights: see HierarchicalLoss.
        smoothing: α above, at least 0 and below 1.

    Raises:
        UserError: smoothing is out of range.
    """

    def __init__(self, reachability: Tensor, class_weights: Tensor, smoothing: float = 0.0) -> None:
        super().__init__(reachability, class_weights)
        if not 0 <= smoothing < 1:
            raise UserError(f"A loss has smoothing {smoothing}: it must be from 0 to below 1.")
        self.smoothing = smoothing

    @abstractmethod
    def scores(self, logits: Tensor) -> Tensor:
        """The score f of each type, (B, C)."""

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The score of each cell's label, (B,); override where it is cheaper alone."""
        return self.scores(logits).gather(1, labels[:, None]).squeeze(1)

    def per_cell(self, logits: Tensor, labels: Tensor) -> Tensor:
        """−(1 − α) f_y − α mean_j f_j."""
        if self.smoothing == 0:
            return -self.score(logits, labels)
        scores = self.scores(logits)
        of_label = scores.gather(1, labels[:, None]).squeeze(1)
        return -torch.lerp(of_label, scores.mean(dim=1), self.smoothing)


class CrossEntropy(ScoreLoss):
    """Cross-entropy, −log p_y; ignores the hierarchy."""

    def scores(self, logits: Tensor) -> Tensor:
        """Log p."""
        return logits.log_softmax(dim=1)

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Log p_y."""
        return -functional.cross_entropy(logits, labels, reduction="none")


class BoundedCrossEntropy(ScoreLoss):
    """Cross-entropy bounded as the published hierarchical one, −log(p_y + ε)."""

    def scores(self, logits: Tensor) -> Tensor:
        """Log(p + ε)."""
        return torch.log(logits.softmax(dim=1) + EPSILON)


class HierarchicalCrossEntropy(ScoreLoss):
    """Hierarchical cross-entropy as published, −log(s_y + ε)."""

    def scores(self, logits: Tensor) -> Tensor:
        """Log(s + ε)."""
        s = logits.softmax(dim=1) @ self.reachability.to(logits.dtype).mT
        return torch.log(s + EPSILON)

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Log(s_y + ε)."""
        # Only the label's row of R p is needed.
        below = self.reachability[labels]
        return torch.log((logits.softmax(dim=1) * below).sum(dim=1) + EPSILON)


class LogHierarchicalCrossEntropy(ScoreLoss):
    """Hierarchical cross-entropy in log space, −log s_y, without ε.

    log s_y = logsumexp of z over y and its descendants − logsumexp of z. Keeps a gradient at any
    gap between logits, where the published form is flat.
    """

    pairs: Tensor

    def __init__(self, reachability: Tensor, class_weights: Tensor, smoothing: float = 0.0) -> None:
        super().__init__(reachability, class_weights, smoothing)
        self.register_buffer("pairs", self.reachability.nonzero().mT.contiguous())

    def scores(self, logits: Tensor) -> Tensor:
        """Log s."""
        # Types as rows, because R has few pairs (ancestor, descendant) and they are summed up.
        above, below = self.pairs
        terms = logits.mT[below]
        with torch.no_grad():
            rows = above[:, None].expand_as(terms)
            largest = torch.full_like(logits.mT, -torch.inf).scatter_reduce(0, rows, terms, "amax")
        sums = torch.zeros_like(largest).index_add(0, above, (terms - largest[above]).exp())
        return (largest + sums.log()).mT - logits.logsumexp(dim=1, keepdim=True)

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Log s_y."""
        return self._inside(logits, labels) - logits.logsumexp(dim=1)

    def _inside(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logsumexp of z over y and its descendants."""
        below = self.reachability[labels]
        return logits.masked_fill(~below, -torch.inf).logsumexp(dim=1)


class NormalisedHierarchicalCrossEntropy(LogHierarchicalCrossEntropy):
    """Cross-entropy of the probabilities that s gives when it is made to sum to 1.

    −log(s_y / Σ_j s_j). In Σ_j s_j the probability p_i of a type counts once for the type and once
    for each of its ancestors; so this loss, unlike the others, prefers types with few ancestors.
    """

    counts: Tensor

    def __init__(self, reachability: Tensor, class_weights: Tensor, smoothing: float = 0.0) -> None:
        super().__init__(reachability, class_weights, smoothing)
        self.register_buffer("counts", self.reachability.sum(dim=0))

    def scores(self, logits: Tensor) -> Tensor:
        """Log s − log Σ_j s_j."""
        s = super().scores(logits)
        return s + (logits.logsumexp(dim=1) - self._all(logits))[:, None]

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Log s_y − log Σ_j s_j."""
        return self._inside(logits, labels) - self._all(logits)

    def _all(self, logits: Tensor) -> Tensor:
        """Logsumexp over all pairs of a type and a descendant (or itself) of its z."""
        return (logits + self.counts.to(logits.dtype).log()).logsumexp(dim=1)


class StudyHierarchicalCrossEntropy(HierarchicalCrossEntropy):
    """Hierarchical cross-entropy that credits what the study's own labels leave to the label.

    −log(Σ_j [(1 − π) R_k + π R][y, j] p_j + ε), k the study of the cell: an answer below the label
    that lies below a finer label of the same study counts π in place of 1. Smoothing keeps R.

    Args:
        reachability: see HierarchicalLoss.
        class_weights: see HierarchicalLoss.
        pi: π, from 0 (the study's labels are complete) to 1 (they say nothing: the loss is
            HierarchicalCrossEntropy, and takes labels).
        smoothing: see ScoreLoss.

    Raises:
        UserError: pi or smoothing is out of range, or a loss is asked for before `take_targets`.
    """

    target_labels: Tensor
    target_rows: Tensor

    def __init__(
        self,
        reachability: Tensor,
        class_weights: Tensor,
        pi: float = 0.0,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__(reachability, class_weights, smoothing)
        if not 0 <= pi <= 1:
            raise UserError(f"A loss has pi {pi}: it must be from 0 to 1.")
        self.pi = pi
        self.register_buffer("target_labels", torch.empty(0, dtype=torch.int64))
        self.register_buffer("target_rows", torch.empty(0, len(reachability)))

    def take_targets(self, labels: Tensor, answers: Tensor) -> None:
        """See HierarchicalLoss."""
        device = self.reachability.device
        self.target_labels = labels.to(device)
        own, every = answers.to(device).float(), self.reachability[self.target_labels].float()
        self.target_rows = torch.lerp(own, every, self.pi)

    @property
    def by_study(self) -> bool:
        """Unless studies say nothing."""
        return self.pi < 1

    def labels_of(self, labels: Tensor) -> Tensor:
        """The labels of targets."""
        if not self.by_study:
            return labels
        if not len(self.target_labels):
            raise UserError(
                "A loss that knows the studies was given no targets: call its take_targets first."
            )
        return self.target_labels[labels]

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Log of the credited probability of each cell + ε."""
        if not self.by_study:
            return super().score(logits, labels)
        s = (logits.softmax(dim=1) * self.target_rows[labels]).sum(dim=1)
        return torch.log(s + EPSILON)

    def per_cell(self, logits: Tensor, labels: Tensor) -> Tensor:
        """−(1 − α) f_y − α mean_j f_j, where f_y alone knows the study."""
        if self.smoothing == 0 or not self.by_study:
            return super().per_cell(logits, labels)
        every = self.scores(logits).mean(dim=1)
        return -torch.lerp(self.score(logits, labels), every, self.smoothing)


class MixedCrossEntropy(StudyHierarchicalCrossEntropy):
    """A mean of cross-entropy and hierarchical cross-entropy, −w log p_y − (1 − w) log(s_y + ε).

    Args:
        reachability: see HierarchicalLoss.
        class_weights: see HierarchicalLoss.
        weight: w, from 0 to 1.
        pi: of the hierarchical part, see StudyHierarchicalCrossEntropy; 1 is the published form.
        smoothing: see ScoreLoss.

    Raises:
        UserError: weight, pi or smoothing is out of range.
    """

    def __init__(
        self,
        reachability: Tensor,
        class_weights: Tensor,
        weight: float = 0.5,
        pi: float = 1.0,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__(reachability, class_weights, pi, smoothing)
        if not 0 <= weight <= 1:
            raise UserError(f"The loss mix has weight {weight}: it must be from 0 to 1.")
        self.weight = weight

    def scores(self, logits: Tensor) -> Tensor:
        """W log p + (1 − w) log(s + ε)."""
        return torch.lerp(super().scores(logits), logits.log_softmax(dim=1), self.weight)

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """W log p_y + (1 − w) log(s_y + ε)."""
        plain = -functional.cross_entropy(logits, self.labels_of(labels), reduction="none")
        return torch.lerp(super().score(logits, labels), plain, self.weight)


class LeafCrossEntropy(LogHierarchicalCrossEntropy):
    """Cross-entropy of a softmax over the leaves alone, marginalised upwards.

    −log s_y with p = 0 at types that have descendants: their logits mean nothing, and the
    probability of such a label is the sum over the leaves below it. Read types from
    `probabilities`, never from the logits.
    """

    internal: Tensor

    def __init__(self, reachability: Tensor, class_weights: Tensor, smoothing: float = 0.0) -> None:
        super().__init__(reachability, class_weights, smoothing)
        self.register_buffer("internal", self.reachability.sum(dim=1) > 1)
        # Log s needs the pairs with leaves only.
        _, below = self.pairs
        self.pairs = self.pairs[:, ~self.internal[below]].contiguous()

    def scores(self, logits: Tensor) -> Tensor:
        """Log s."""
        return super().scores(self._leaves(logits))

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Log s_y."""
        return super().score(self._leaves(logits), labels)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax over the leaves; 0 at other types."""
        return self._leaves(logits).softmax(dim=1)

    def _leaves(self, logits: Tensor) -> Tensor:
        return logits.masked_fill(self.internal, -torch.inf)


LOSSES: dict[str, type] = {
    "ce": CrossEntropy,
    "ce_eps": BoundedCrossEntropy,
    "hce": HierarchicalCrossEntropy,
    "hce_log": LogHierarchicalCrossEntropy,
    "hce_normalised": NormalisedHierarchicalCrossEntropy,
    "hce_study": StudyHierarchicalCrossEntropy,
    "leaf": LeafCrossEntropy,
    "mix": MixedCrossEntropy,
}


def build_loss(
    name: str, reachability: Tensor, class_weights: Tensor, **arguments: object
) -> HierarchicalLoss:
    """Makes a loss from its registry name or `package.module:Class`.

    Raises:
        UserError: unknown name, failed import, or refused arguments.
    """
    return build(name, LOSSES, "loss", reachability, class_weights, **arguments)
