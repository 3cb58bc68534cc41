"""What a benchmark hands in, and how pairs of timings are taken."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


class SkippedError(Exception):
    """The benchmark cannot run on this machine; the message says why."""


@dataclass(frozen=True)
class Result:
    """One number, beside that of a peer and its target.

    Attributes:
        benchmark: name, `<file>: <what>`.
        value: what was measured.
        unit: of value and peer_value.
        peer: what it is compared with, if anything.
        peer_value: what was measured, in the same run, for the peer.
        target: the ratio that is to be reached: at most (for "<=") or at least (for ">=").
        direction: "<=" or ">=".
    """

    benchmark: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    target: float | None = None
    direction: str = "<="

    @property
    def ratio(self) -> float | None:
        """Value over peer's value."""
        return None if self.peer_value is None else self.value / self.peer_value

    @property
    def met(self) -> bool | None:
        """Whether the ratio (the value itself where there is no peer) reaches the target."""
        if self.target is None:
            return None
        measured = self.value if self.ratio is None else self.ratio
        return measured <= self.target if self.direction == "<=" else measured >= self.target


def interleaved_medians(
    calls: dict[str, Callable[[], object]], warm_up: int, repeats: int
) -> dict[str, float]:
    """Median seconds of each call, taken in turns so that a busy machine slows all alike.

    Args:
        calls: name → function without arguments.
        warm_up: untimed calls of each at first.
        repeats: timed calls of each; who comes first rotates.
    """
    names = list(calls)
    for name in names:
        for _ in range(warm_up):
            calls[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}
