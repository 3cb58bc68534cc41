"""Cells of a few types that a model can tell apart."""

import numpy as np
import pytest

from hce.batches.in_memory import Batches

N_TYPES, N_GENES = 4, 120


@pytest.fixture
def cells(make_counts):
    """Cells whose type shows in ten genes of its own."""

    def make(n, seed):
        counts = make_counts(n, N_GENES, seed)
        labels = np.random.default_rng(seed).integers(0, N_TYPES, n)
        counts.values[:] = 1
        owner = np.repeat(labels, np.diff(counts.indptr))
        counts.values[counts.genes // 10 == owner] = 200
        return Batches(counts, labels, N_GENES, batch_size=32)

    return make
