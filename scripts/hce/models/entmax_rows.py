"""1.5-entmax on the CPU, of whole rows or of the few entries that can be positive.

τ is the root of f(τ) = Σ max(z / 2 − τ, 0)² − 1, which falls and is convex: Newton's steps from the
left of the root come closer and never pass it. An entry that is below τ once stays there, so that
each step looks at fewer of them.
"""

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

from hce.models.threads import even, in_threads

STEPS = 100  # of Newton at most; some ten are enough
CLOSE = 1e-12  # a step this small is the last
GROUP = 32  # values in a group
SLACK = 1e-3  # tolerance of τ for logits that are rounded otherwise when they are computed again


class RowsEntmax15(torch.autograd.Function):
    """1.5-entmax of each row, see `entmax.entmax15`; not a number where a logit is none.

    Arguments of `apply`: float (n,), the rows one after the other; int64 (rows + 1,), where each
    begins and the last ends.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, starts: Tensor) -> Tensor:
        """Float (n,)."""
        values = values.detach().contiguous()
        result = torch.empty_like(values)
        arrays = values.numpy(), starts.numpy(), result.numpy()
        in_threads(
            lambda first, stop: _apply(first, stop, *arrays),
            even(len(starts) - 1, torch.get_num_threads()),
        )
        ctx.save_for_backward(result, starts)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The gradient of the values."""
        result, starts = ctx.saved_tensors
        out = torch.empty_like(result)
        given = result.numpy(), gradient.contiguous().numpy()
        arrays = *given, starts.numpy(), out.numpy()
        in_threads(
            lambda first, stop: _differentiate(first, stop, *arrays),
            even(len(starts) - 1, torch.get_num_threads()),
        )
        return out, None


def candidates(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Positions where 1.5-entmax is positive or nearly so.

    Args:
        logits: float (B, G), on the CPU.

    Returns:
        Rows and columns, int64 (n,), sorted by row and column. Of a row in which a logit is not a
        number, or infinite, the position of the largest; so its result is not a number.
    """
    given = logits.detach().contiguous().numpy()
    bounds, counts = np.empty(len(given)), np.empty(len(given), np.int64)
    in_threads(
        lambda first, stop: _count(first, stop, given, bounds, counts),
        even(len(given), torch.get_num_threads()),
    )
    ends = counts.cumsum()
    rows, columns = (np.empty(ends[-1] if len(ends) else 0, np.int64) for _ in range(2))
    arrays = given, bounds, ends - counts, rows, columns
    in_threads(
        lambda first, stop: _fill(first, stop, *arrays), even(len(given), torch.get_num_threads())
    )
    return torch.from_numpy(rows), torch.from_numpy(columns)


@njit(nogil=True, cache=True)
def _largest(row: np.ndarray, maxima: np.ndarray, odd: np.ndarray) -> float:
    """The largest value; not a number where a value is none or infinite.

    Fills `maxima` with those of groups of values; `odd` is working memory of the same length.
    """
    groups = len(maxima)
    maxima[:] = row[:groups]
    odd[:] = maxima - maxima  # zero, and not a number for infinite values
    for start in range(groups, len(row), groups):
        for k in range(min(groups, len(row) - start)):
            value = row[start + k]
            maxima[k] = value if value > maxima[k] else maxima[k]
            odd[k] += value - value
    return np.nan if np.isnan(odd.sum()) else maxima.max()


@njit(nogil=True, cache=True)
def _above(values: np.ndarray, largest: float, tau: float, halves: np.ndarray) -> int:
    """Fills `halves` with (value − largest) / 2 of the values for which it is above τ."""
    count = 0
    for value in values:
        half = (value - largest) / 2  # and not a bound of the values, which may be huge
        if half > tau:
            halves[count] = half
            count += 1
    return count


@njit(nogil=True, cache=True)
def _root(halves: np.ndarray, count: int, tau: float) -> float:
    """The root of f by Newton's steps from a τ that is not above it; `halves` is changed."""
    for _ in range(STEPS):
        total, squares, kept = 0.0, 0.0, 0
        for k in range(count):
            above = halves[k] - tau
            if above > 0:
                halves[kept] = halves[k]
                kept += 1
                total += above
                squares += above * above
        count = kept
        step = (squares - 1) / (2 * total)
        if step <= CLOSE:
            break
        tau += step
    return tau


@njit(nogil=True, cache=True)
def _threshold(row: np.ndarray, largest: float, maxima: np.ndarray, halves: np.ndarray) -> float:
    """τ of a row from which the largest value is subtracted; `halves` is working memory."""
    tau = -1.0  # where the largest value alone has the sum 1
    # The τ of some of the values is never above that of all; of the maxima, it is close.
    for values in (maxima, row):
        tau = _root(halves, _above(values, largest, tau, halves), tau)
    return tau


@njit(nogil=True, cache=True)
def _apply(
    first: int, stop: int, values: np.ndarray, starts: np.ndarray, result: np.ndarray
) -> None:
    """The result of the rows first to stop."""
    halves = np.empty(np.diff(starts[first : stop + 1]).max() if stop > first else 0)
    maxima, odd = np.empty_like(values[: len(halves)]), np.empty_like(values[: len(halves)])
    for i in range(first, stop):
        row, out = values[starts[i] : starts[i + 1]], result[starts[i] : starts[i + 1]]
        groups = -(-len(row) // GROUP)
        largest = _largest(row, maxima[:groups], odd[:groups])
        if np.isnan(largest):
            out[:] = np.nan
            continue
        tau = _threshold(row, largest, maxima[:groups], halves)
        for k in range(len(row)):
            above = max((row[k] - largest) / 2 - tau, 0.0)
            out[k] = above * above


@njit(nogil=True, cache=True)
def _differentiate(
    first: int,
    stop: int,
    result: np.ndarray,
    gradient: np.ndarray,
    starts: np.ndarray,
    out: np.ndarray,
) -> None:
    """The gradient of the values of the rows first to stop."""
    for i in range(first, stop):
        scaled, total = 0.0, 0.0
        for k in range(starts[i], starts[i + 1]):
            root = np.sqrt(result[k])
            scaled += root * gradient[k]
            total += root
        for k in range(starts[i], starts[i + 1]):
            out[k] = np.sqrt(result[k]) * (gradient[k] - scaled / total)


@njit(nogil=True, cache=True)
def _count(
    first: int, stop: int, logits: np.ndarray, bounds: np.ndarray, counts: np.ndarray
) -> None:
    """The smallest logit that is a candidate, and their number, for the rows first to stop."""
    halves, groups = np.empty(logits.shape[1]), -(-logits.shape[1] // GROUP)
    maxima, odd = np.empty_like(logits[0, :groups]), np.empty_like(logits[0, :groups])
    for i in range(first, stop):
        largest = _largest(logits[i], maxima, odd)
        if np.isnan(largest):
            bounds[i], counts[i] = np.nan, 1
            continue
        bound = largest + 2 * (_threshold(logits[i], largest, maxima, halves) - SLACK)
        count = 0
        for value in logits[i]:
            count += value >= bound
        bounds[i], counts[i] = bound, count


@njit(nogil=True, cache=True)
def _fill(
    first: int,
    stop: int,
    logits: np.ndarray,
    bounds: np.ndarray,
    begins: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
) -> None:
    """The positions of the candidates of the rows first to stop."""
    for i in range(first, stop):
        at = begins[i]
        if np.isnan(bounds[i]):
            rows[at], columns[at] = i, np.argmax(logits[i])  # which takes NaN for the largest
            continue
        for k in range(logits.shape[1]):
            if logits[i, k] >= bounds[i]:
                rows[at], columns[at] = i, k
                at += 1
