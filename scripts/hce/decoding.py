"""From probabilities to one type a cell."""

from collections.abc import Callable

from torch import Tensor


def argmax(probabilities: Tensor, reachability: Tensor) -> Tensor:
    """Scores whose maximum is the most probable type: the probabilities themselves."""
    del reachability
    return probabilities


def ancestor_sum(probabilities: Tensor, reachability: Tensor) -> Tensor:
    """Scores Rᵀp: the probability of each type and its ancestors together.

    Its maximum is the optimal answer where a descendant of the label is credited: a cell labelled
    with any ancestor of the answer counts as right.
    """
    return probabilities @ reachability.to(probabilities.dtype)


DECODERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "argmax": argmax,
    "ancestor_sum": ancestor_sum,
}


def decode(decoder: str, probabilities: Tensor, reachability: Tensor) -> tuple[Tensor, Tensor]:
    """Reads out one type a cell.

    Args:
        decoder: a key of `DECODERS`.
        probabilities: float32 (B, C).
        reachability: bool (C, C).

    Returns:
        The type, int64 (B,), and its score, float32 (B,).
    """
    score, prediction = DECODERS[decoder](probabilities, reachability).max(dim=1)
    return prediction, score
