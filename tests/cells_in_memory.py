"""Stores of cells that lie in memory."""

from dataclasses import dataclass

import numpy as np

from hce.store.counts import Counts


@dataclass
class Memory:
    """A store that lies in memory, streamed some cells at a time."""

    counts: Counts
    step: int = 7

    def blocks(self):
        for start in range(0, len(self.counts), self.step):
            yield self.counts.slice(start, min(start + self.step, len(self.counts)))


def from_dense(dense: np.ndarray) -> Counts:
    rows, genes = np.nonzero(dense)
    indptr = np.concatenate([[0], np.cumsum((dense > 0).sum(axis=1))]).astype(np.int64)
    return Counts(indptr, genes.astype(np.uint16), dense[rows, genes].astype(np.uint16))
