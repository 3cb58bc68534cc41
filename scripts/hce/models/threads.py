"""Loops of compiled code over ranges, in as many threads as torch has."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch


def in_threads(call: Callable[[int, int], None], bounds: Any) -> None:
    """Calls with the range between each two of the bounds, ascending integers.

    The threads are new each time, and so flush denormal numbers if this one does, see `device`.
    """
    ranges = list(pairwise(bounds))
    if torch.get_num_threads() == 1:
        for first, stop in ranges:
            call(first, stop)
        return
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(lambda each: call(*each), ranges))


def even(n: int, parts: int | None = None) -> np.ndarray:
    """Bounds of so many ranges of about equal length, int64 (parts + 1,); None: one per thread."""
    return np.linspace(0, n, (parts or torch.get_num_threads()) + 1).astype(np.int64)
