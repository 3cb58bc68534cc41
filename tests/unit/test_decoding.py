import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hce.decoding import RULES, Decoder, decode
from hce.errors import UserError


def drawn(seed: int, types: int = 164) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(types, 0.1))


def decode_one(decoder: Decoder, p: np.ndarray, reachability: np.ndarray) -> tuple[int, float]:
    prediction, score = decode(decoder, torch.from_numpy(p)[None], torch.from_numpy(reachability))
    return int(prediction.item()), float(score.item())


def test_argmax_is_the_most_probable_type():
    prediction, score = decode_one(Decoder("argmax"), np.array([0.2, 0.5, 0.3]), np.eye(3) > 0)
    assert (prediction, score) == (1, 0.5)


@given(st.integers(0, 10_000))
def test_ancestor_sum_maximises_the_probability_of_being_credited(hierarchy, seed):
    p = drawn(seed)
    prediction, score = decode_one(Decoder("ancestor_sum"), p, hierarchy.reachability)
    # An answer is credited for every label that is the answer or one of its ancestors.
    credited = [p[hierarchy.reachability[:, u]].sum() for u in range(164)]
    assert score == pytest.approx(max(credited))
    assert credited[prediction] == pytest.approx(max(credited))


@given(st.integers(0, 10_000))
def test_vocabulary_sum_maximises_the_probability_that_a_training_study_credits(hierarchy, seed):
    rng, p = np.random.default_rng(seed), drawn(seed)
    # Some studies, each of which denies some of the credited answers.
    studies = hierarchy.reachability & (rng.random((3, 164, 164)) < 0.5)
    studies |= np.eye(164, dtype=bool)
    decoder = Decoder.named("vocabulary_sum", mean_reachability=studies.mean(axis=0))
    prediction, score = decode_one(decoder, p, hierarchy.reachability)
    worth = [np.mean([p[study[:, u]].sum() for study in studies]) for u in range(164)]
    assert score == pytest.approx(max(worth))
    assert worth[prediction] == pytest.approx(max(worth))


@given(st.integers(0, 10_000))
def test_hierarchical_f1_maximises_the_expected_f1_of_the_ancestors(hierarchy, seed):
    p = drawn(seed)
    prediction, score = decode_one(Decoder("hierarchical_f1"), p, hierarchy.reachability)
    families = [set(np.flatnonzero(hierarchy.reachability[:, u])) for u in range(164)]
    labels = np.argsort(-p)[:40]  # the rest weighs nothing
    worth = [
        sum(
            p[y] * 2 * len(families[u] & families[y]) / (len(families[u]) + len(families[y]))
            for y in labels
        )
        for u in range(164)
    ]
    assert score == pytest.approx(max(worth), abs=p.sum() - p[labels].sum() + 1e-9)
    assert worth[prediction] == pytest.approx(max(worth), abs=p.sum() - p[labels].sum() + 1e-9)


@given(st.integers(0, 10_000), st.floats(0.05, 0.99))
def test_back_off_is_the_most_specific_type_whose_s_reaches_the_threshold(
    hierarchy, seed, threshold
):
    p = drawn(seed)
    found = decode_one(Decoder("back_off", threshold=threshold), p, hierarchy.reachability)
    # The definition, type by type: fewest descendants first, then the most probable s.
    s = [float(p[row].sum()) for row in hierarchy.reachability]
    passing = [u for u in range(164) if s[u] >= threshold]
    best = min(passing or range(164), key=lambda u: -s[u])
    if passing:
        best = min(passing, key=lambda u: (hierarchy.reachability[u].sum(), -s[u]))
    assert found[1] == pytest.approx(s[best])
    if passing:
        assert found[0] == best


@pytest.mark.parametrize("name", [*RULES[:-1], "back_off_0.5", "back_off_0.99"])
def test_cells_of_a_batch_are_decoded_as_each_is_alone(hierarchy, name):
    cells = np.stack([drawn(seed) for seed in range(20)])
    weights = np.random.default_rng(0).uniform(0.5, 2, 164)
    decoder = Decoder.named(name, weights, hierarchy.reachability.astype(float))
    together = decode(decoder, torch.from_numpy(cells), torch.from_numpy(hierarchy.reachability))
    alone = [decode_one(decoder, p, hierarchy.reachability) for p in cells]
    assert together[0].tolist() == [prediction for prediction, _ in alone]
    np.testing.assert_allclose(together[1], [score for _, score in alone])


def test_back_off_may_end_at_a_type_above_all_others():
    reachability = np.eye(3, dtype=bool)
    reachability[2] = True
    p = np.array([0.4, 0.4, 0.2])
    assert decode_one(Decoder("back_off", 0.9), p, reachability) == (2, pytest.approx(1.0))


def test_back_off_goes_up_with_the_threshold_and_else_to_the_largest_s():
    # Type 0 above 1 and 2; 3 stands alone.
    reachability = np.eye(4, dtype=bool)
    reachability[0, [1, 2]] = True
    p = np.array([0.0, 0.5, 0.3, 0.2])
    for threshold, wanted in ((0.15, 1), (0.5, 1), (0.6, 0), (0.95, 0)):
        assert decode_one(Decoder("back_off", threshold), p, reachability)[0] == wanted


@given(st.integers(0, 10_000))
def test_prior_corrected_is_argmax_where_the_weights_never_were(hierarchy, seed):
    rng = np.random.default_rng(seed)
    untilted, weights = drawn(seed), rng.uniform(0.05, 20, 164)
    tilted = untilted * weights / (untilted * weights).sum()
    decoder = Decoder.named("prior_corrected", weights)
    prediction, score = decode_one(decoder, tilted, hierarchy.reachability)
    assert score == pytest.approx(untilted.max(), rel=1e-5)
    assert untilted[prediction] == pytest.approx(untilted.max(), rel=1e-5)


@pytest.mark.parametrize("name", [*RULES[:-1], "back_off_0.85"])
def test_a_decoder_has_the_name_that_it_is_asked_for_by(name):
    assert Decoder.named(name, np.ones(3), np.eye(3)).name == name


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("softmax", None, "no decoder 'softmax'"),
        ("back_off", None, "needs a threshold"),
        ("back_off_x", None, "no number as threshold: 'x'"),
        ("back_off_1.5", None, "threshold 1.5"),
        ("back_off_nan", None, "threshold nan"),
        ("prior_corrected", None, "needs a class weight"),
        ("vocabulary_sum", None, "needs to know the labels of the training studies"),
        ("prior_corrected", np.array([1.0, 0.0]), "needs a class weight above 0"),
    ],
)
def test_a_decoder_that_cannot_be_is_refused(name, weights, message):
    with pytest.raises(UserError, match=message):
        Decoder.named(name, weights)
