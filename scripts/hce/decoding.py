"""From probabilities to one type a cell.

Notation: p (B, C) the probabilities of the types, R (C, C) the reachability, both as in
`hce.losses`. Three probabilities belong to an answer u: p_u that the label is u, s_u = (R p)_u that
it is u or a descendant, and (Rᵀp)_u that it is u or an ancestor, so that u is credited.

Three rules maximise what an answer is worth on average, Σ_a G[a, u] p_a, where G[a, u] is what the
answer u is worth if the label is a: ancestor_sum with G = R, vocabulary_sum with G = R̄, the mean of
R_k over the training studies k that use the label a (see `hce.ontology.targets`), and
hierarchical_f1 with the share of ancestors that u and a have in common.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hce.errors import UserError

RULES = (
    *("argmax", "ancestor_sum", "vocabulary_sum", "hierarchical_f1", "prior_corrected"),
    "back_off",
)


@dataclass(frozen=True)
class Decoder:
    """A rule that chooses a type.

    argmax takes the largest p. ancestor_sum takes the largest Rᵀp: the optimal answer where every
    descendant of the label is credited. vocabulary_sum takes the largest R̄ᵀp: the optimal answer
    where no more is credited than a study leaves to the label, the studies being those of the
    training. hierarchical_f1 takes the largest expected hierarchical F1. prior_corrected takes the
    largest p after undoing the class weights. back_off takes the most specific type whose s reaches
    the threshold.

    Attributes:
        rule: one of `RULES`.
        threshold: of back_off, above 0 and at most 1.
        class_weights: float (C,), all above 0, for prior_corrected: what the model was trained
            with.
        mean_reachability: float (C, C), R̄, for vocabulary_sum.
    """

    rule: str
    threshold: float | None = None
    class_weights: Tensor | None = None
    mean_reachability: Tensor | None = None

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise UserError(f"There is no decoder {self.rule!r}: choose from {', '.join(RULES)}.")
        if (self.rule == "back_off") != (self.threshold is not None):
            raise UserError("A decoder needs a threshold if it is back_off, and else has none.")
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise UserError(
                f"Decoder back_off has the threshold {self.threshold}: it must be above 0 and at "
                "most 1."
            )
        if self.rule == "prior_corrected" and (
            self.class_weights is None or not bool((self.class_weights > 0).all())
        ):
            raise UserError("Decoder prior_corrected needs a class weight above 0 of every type.")
        if self.rule == "vocabulary_sum" and self.mean_reachability is None:
            raise UserError(
                "Decoder vocabulary_sum needs to know the labels of the training studies, and this "
                "model file does not say them: fit the model again, or leave the decoder out."
            )

    @classmethod
    def named(
        cls,
        name: str,
        class_weights: np.ndarray | None = None,
        mean_reachability: np.ndarray | None = None,
    ) -> "Decoder":
        """The decoder of a name as in the config: a rule, or `back_off_<threshold>`.

        Args:
            name: for example `argmax` or `back_off_0.9`.
            class_weights: float (C,); needed for prior_corrected.
            mean_reachability: float (C, C); needed for vocabulary_sum.

        Raises:
            UserError: there is no such decoder, or what it needs is missing.
        """
        if name.startswith("back_off_"):
            text = name.removeprefix("back_off_")
            try:
                return cls("back_off", threshold=float(text))
            except ValueError:
                raise UserError(f"Decoder {name} has no number as threshold: {text!r}.") from None
        if name == "prior_corrected" and class_weights is not None:
            return cls(name, class_weights=torch.tensor(np.asarray(class_weights, np.float32)))
        if name == "vocabulary_sum" and mean_reachability is not None:
            return cls(name, mean_reachability=torch.from_numpy(mean_reachability))
        return cls(name)

    @property
    def name(self) -> str:
        """As in the config, and in the columns of predictions and tables."""
        return self.rule if self.threshold is None else f"{self.rule}_{self.threshold:g}"

    def to(self, device: torch.device) -> "Decoder":
        """The same rule with its tensors on a device."""
        weights, mean = self.class_weights, self.mean_reachability
        return replace(
            self,
            class_weights=None if weights is None else weights.to(device),
            mean_reachability=None if mean is None else mean.to(device),
        )

    def posterior(self, probabilities: Tensor) -> Tensor:
        """The probabilities (B, C) that the decoder chooses by: p, or p with the weights undone.

        A class weight w multiplies the loss of a label, so the model learns p ∝ w times the
        probability of the label in the training data; p / w, made to sum to 1, undoes it.
        """
        if self.class_weights is None:
            return probabilities
        tilted = probabilities / self.class_weights.to(probabilities)
        return tilted / tilted.sum(dim=1, keepdim=True)


def below(probabilities: Tensor, reachability: Tensor) -> Tensor:
    """The s of each type, R p (B, C): its probability and that of its descendants together."""
    return probabilities @ reachability.to(probabilities.dtype).mT


def above(probabilities: Tensor, reachability: Tensor) -> Tensor:
    """Rᵀp (B, C): the probability of each type and its ancestors together."""
    return probabilities @ reachability.to(probabilities.dtype)


def decode(decoder: Decoder, probabilities: Tensor, reachability: Tensor) -> tuple[Tensor, Tensor]:
    """Reads out one type a cell.

    Args:
        decoder: the rule.
        probabilities: float32 (B, C).
        reachability: bool (C, C).

    Returns:
        The type, int64 (B,), and the score that the rule chose it by, float32 (B,): p_u of argmax
        and prior_corrected, (Rᵀp)_u of ancestor_sum, (R̄ᵀp)_u of vocabulary_sum, the expected F1 of
        hierarchical_f1, s_u of back_off.
    """
    posterior = decoder.posterior(probabilities)
    if decoder.threshold is not None:
        return back_off(below(posterior, reachability), reachability, decoder.threshold)
    if decoder.rule == "ancestor_sum":
        posterior = above(posterior, reachability)
    elif decoder.mean_reachability is not None:
        posterior = posterior @ decoder.mean_reachability.to(posterior)
    elif decoder.rule == "hierarchical_f1":
        posterior = posterior @ f1_of_types(reachability, posterior.dtype)
    score, prediction = posterior.max(dim=1)
    return prediction, score


def f1_of_types(reachability: Tensor, dtype: torch.dtype) -> Tensor:
    """Hierarchical F1 of each answer u where the label is y, (C, C), by [y, u].

    2 |A_u ∩ A_y| / (|A_u| + |A_y|), A the ancestors of a type among the types, with itself
    (Kiritchenko et al., LNCS 4013, 395, 2006).
    """
    reach = reachability.to(dtype)
    size = reach.sum(dim=0)
    return 2 * (reach.mT @ reach) / (size[:, None] + size)


def back_off(s: Tensor, reachability: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """The type with the fewest descendants among those whose s reaches the threshold.

    Of several the one with the largest s; where none reaches it, the one with the largest s of
    all.

    Args:
        s: float (B, C), see `below`.
        reachability: bool (C, C).
        threshold: what s has to reach.

    Returns:
        The type, int64 (B,), and its s (B,).
    """
    size = reachability.sum(dim=1)
    passing = s >= threshold
    passing |= ~passing.any(dim=1, keepdim=True) & (s == s.amax(dim=1, keepdim=True))
    fewest = torch.where(passing, size, len(size) + 1).amin(dim=1, keepdim=True)
    score, prediction = s.masked_fill(~passing | (size != fewest), -1.0).max(dim=1)
    return prediction, score
