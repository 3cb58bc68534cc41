import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hce.decoding import decode


def test_argmax_is_the_most_probable_type():
    p = torch.tensor([[0.2, 0.5, 0.3]])
    prediction, score = decode("argmax", p, torch.eye(3, dtype=torch.bool))
    assert prediction.item() == 1
    assert score.item() == pytest.approx(0.5)


@given(st.integers(0, 10_000))
def test_ancestor_sum_maximises_the_probability_of_being_credited(hierarchy, seed):
    p = np.random.default_rng(seed).dirichlet(np.full(164, 0.1))
    prediction, score = decode(
        "ancestor_sum", torch.from_numpy(p)[None], torch.from_numpy(hierarchy.reachability)
    )
    # An answer is credited for every label that is the answer or one of its ancestors.
    credited = [p[hierarchy.reachability[:, u]].sum() for u in range(164)]
    assert score.item() == pytest.approx(max(credited))
    assert credited[prediction.item()] == pytest.approx(max(credited))
