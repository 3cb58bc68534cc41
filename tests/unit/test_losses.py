import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hce.errors import UserError
from hce.losses import LOSSES, build_loss

# a diamond (3 has two parents), a chain below it, and an isolated type
EDGES = [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4)]
N_TYPES = 6


def reachability() -> np.ndarray:
    matrix = np.eye(N_TYPES, dtype=bool)
    for _ in range(N_TYPES):
        for parent, child in EDGES:
            matrix[parent] |= matrix[child]
    return matrix


R = reachability()
# Targets of two studies: the first labels all types, the second 0 and 2. Their rows of R_k:
TARGETS = [(y, {y}) for y in range(N_TYPES)] + [(0, {0, 1}), (2, {2, 3, 4})]
TARGET_LABELS = np.array([y for y, _ in TARGETS])
ANSWERS = np.array([[j in row for j in range(N_TYPES)] for _, row in TARGETS])


# name of a case → name in the registry and arguments
CASES = {name: (name, {}) for name in LOSSES}
CASES |= {f"{name}, smoothed": (name, {"smoothing": 0.2}) for name in LOSSES}
CASES["mix 0.3"] = ("mix", {"weight": 0.3})
CASES |= {f"hce_study, pi {pi}": ("hce_study", {"pi": pi}) for pi in (0.25, 1.0)}
CASES["mix by study"] = ("mix", {"weight": 0.1, "pi": 0.0})
CASES["mix by study, smoothed"] = ("mix", {"weight": 0.1, "pi": 0.5, "smoothing": 0.2})


def score(name: str, z: np.ndarray, y: int, row: np.ndarray, weight: float) -> float:
    """Minus the loss of a cell labelled y, term by term, without vectorised tricks.

    Row: how much each answer counts as y, where the loss is hierarchical.
    """

    def softmax(types):
        exponentials = {j: math.exp(z[j] - max(z)) for j in types}
        return {j: e / sum(exponentials.values()) for j, e in exponentials.items()}

    def below(p, credit):
        return sum(p[j] * credit[j] for j in p)

    p = softmax(range(N_TYPES))
    if name == "ce":
        return math.log(p[y])
    if name == "ce_eps":
        return math.log(p[y] + 1e-6)
    if name in ("hce", "hce_study"):
        return math.log(below(p, row) + 1e-6)
    if name == "hce_log":
        return math.log(below(p, row))
    if name == "hce_normalised":
        return math.log(below(p, row) / sum(below(p, R[i]) for i in range(N_TYPES)))
    if name == "mix":
        return weight * math.log(p[y]) + (1 - weight) * math.log(below(p, row) + 1e-6)
    assert name == "leaf"
    return math.log(below(softmax([i for i in range(N_TYPES) if R[i].sum() == 1]), row))


def reference(case: str, logits: np.ndarray, cells: np.ndarray, weights: np.ndarray) -> float:
    """The weighted mean loss in float64; of targets where the loss knows the studies."""
    name, arguments = CASES[case]
    mix, smoothing = arguments.get("weight", 0.5), arguments.get("smoothing", 0.0)
    pi = arguments.get("pi", 0.0 if name == "hce_study" else 1.0)
    total = weight_sum = 0.0
    for z, cell in zip(logits, cells, strict=True):
        y = cell if pi == 1 else TARGET_LABELS[cell]
        row = R[y] if pi == 1 else (1 - pi) * ANSWERS[cell] + pi * R[y]
        value = -(1 - smoothing) * score(name, z, y, row, mix)
        if smoothing:
            every = [score(name, z, j, R[j], mix) for j in range(N_TYPES)]
            value -= smoothing * np.mean(every)
        total += weights[y] * value
        weight_sum += weights[y]
    return total / weight_sum


def make(case, weights):
    name, arguments = CASES[case]
    loss = build_loss(name, torch.from_numpy(R), torch.from_numpy(weights), **arguments)
    if loss.by_study:
        loss.take_targets(torch.from_numpy(TARGET_LABELS), torch.from_numpy(ANSWERS))
    return loss


def cells_of(loss, labels: np.ndarray) -> np.ndarray:
    """What the loss takes of cells: their labels, or targets of both studies."""
    return np.where(labels == 0, 6, np.where(labels == 2, 7, labels)) if loss.by_study else labels


def reference_gradient(name, logits, labels, weights, step=1e-6):
    gradient = np.zeros_like(logits)
    for index in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (
            reference(name, up, labels, weights) - reference(name, down, labels, weights)
        ) / (2 * step)
    return gradient


cases = st.integers(0, 2**32 - 1).map(
    lambda seed: (
        (rng := np.random.default_rng(seed)).normal(0, 3, (5, N_TYPES)),
        rng.integers(0, N_TYPES, 5),
        rng.uniform(0.1, 3, N_TYPES),
    )
)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=8, deadline=None)
@given(case=cases)
def test_value_and_gradient_equal_the_float64_formula_on_a_graph_with_two_parents(name, case):
    logits, labels, weights = case
    loss = make(name, weights).double()
    loss.class_weights = torch.from_numpy(weights)
    labels = cells_of(loss, labels)
    z = torch.from_numpy(logits).requires_grad_()
    value = loss(z, torch.from_numpy(labels))
    value.backward()
    assert value.item() == pytest.approx(reference(name, logits, labels, weights), rel=1e-9)
    expected = reference_gradient(name, logits, labels, weights)
    assert np.abs(z.grad.numpy() - expected).max() < 1e-6


@pytest.mark.parametrize("name", CASES)
def test_float32_agrees_with_float64_to_single_precision(name):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, (64, N_TYPES)), rng.integers(0, N_TYPES, 64)
    weights = rng.uniform(0.1, 3, N_TYPES)
    loss = make(name, weights)
    labels = cells_of(loss, labels)
    value = loss(torch.from_numpy(logits).float(), torch.from_numpy(labels)).item()
    assert value == pytest.approx(reference(name, logits, labels, weights), rel=1e-5)


def test_hierarchical_losses_equal_cross_entropy_at_leaves():
    logits = torch.randn(16, N_TYPES, generator=torch.Generator().manual_seed(0))
    leaves = torch.tensor([4, 5] * 8)
    arguments = torch.from_numpy(R), torch.ones(N_TYPES)
    plain = build_loss("ce", *arguments).per_cell(logits, leaves)
    torch.testing.assert_close(build_loss("hce_log", *arguments).per_cell(logits, leaves), plain)
    torch.testing.assert_close(
        build_loss("hce", *arguments).per_cell(logits, leaves), plain, rtol=1e-3, atol=1e-3
    )


def test_moving_probability_to_a_descendant_leaves_the_hierarchical_loss_unchanged():
    logits = torch.tensor([[2.0, 0.0, 0.0, 0.0, -1.0, 1.0]])
    swapped = logits[:, [4, 1, 2, 3, 0, 5]]
    root = torch.tensor([0])
    for name in ("hce", "hce_log"):
        loss = build_loss(name, torch.from_numpy(R), torch.ones(N_TYPES))
        torch.testing.assert_close(loss.per_cell(logits, root), loss.per_cell(swapped, root))
    plain = build_loss("ce", torch.from_numpy(R), torch.ones(N_TYPES))
    assert plain.per_cell(swapped, root) > plain.per_cell(logits, root) + 1


def test_the_log_form_keeps_a_gradient_where_the_published_form_is_flat():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 90.0]])
    gradients = {}
    for name in ("hce", "hce_log"):
        z = logits.clone().requires_grad_()
        build_loss(name, torch.from_numpy(R), torch.ones(N_TYPES))(z, torch.tensor([4])).backward()
        gradients[name] = z.grad.abs().max().item()
    assert gradients["hce"] < 1e-30
    assert gradients["hce_log"] == pytest.approx(1.0)


def test_the_published_form_is_bounded_by_minus_log_epsilon():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 200.0]])
    loss = build_loss("hce", torch.from_numpy(R), torch.ones(N_TYPES))
    assert loss.per_cell(logits, torch.tensor([4])).item() == pytest.approx(13.8155, abs=1e-3)


def test_an_unknown_loss_names_the_known_ones():
    names = "ce, ce_eps, hce, hce_log, hce_normalised, hce_study, leaf, mix;"
    with pytest.raises(UserError, match=names):
        build_loss("hcee", torch.from_numpy(R), torch.ones(N_TYPES))


def test_a_loss_of_ones_own_is_found_by_its_path():
    loss = build_loss("hce.losses:CrossEntropy", torch.from_numpy(R), torch.ones(N_TYPES))
    assert type(loss) is LOSSES["ce"]


@pytest.mark.parametrize("name", ["no.such.module:Loss", "hce.losses:NoSuchLoss"])
def test_a_loss_that_cannot_be_imported_is_named(name):
    with pytest.raises(UserError, match=f"{name} cannot be imported"):
        build_loss(name, torch.from_numpy(R), torch.ones(N_TYPES))


def test_arguments_that_a_loss_does_not_take_are_refused():
    with pytest.raises(UserError, match="does not accept its arguments"):
        build_loss("ce", torch.from_numpy(R), torch.ones(N_TYPES), temperature=2.0)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ce", {"smoothing": 1.0}),
        ("hce", {"smoothing": -0.1}),
        ("mix", {"weight": 1.5}),
        ("hce_study", {"pi": -1}),
    ],
)
def test_arguments_out_of_range_are_named(name, arguments):
    with pytest.raises(UserError, match=f"{next(iter(arguments))} .*must be from 0 to"):
        build_loss(name, torch.from_numpy(R), torch.ones(N_TYPES), **arguments)


def test_an_answer_that_the_study_labels_itself_is_paid_for_no_more():
    logits = torch.tensor([[-9.0, 0, 0, 0, 9, 0]])
    for pi, wanted in ((0.0, "low"), (1.0, "high")):
        loss = build_loss("hce_study", torch.from_numpy(R), torch.ones(N_TYPES), pi=pi)
        loss.take_targets(torch.from_numpy(TARGET_LABELS), torch.from_numpy(ANSWERS))
        label_2_of_the_first_study = torch.tensor([2])  # type 4 lies below 2, and is a label there
        value = loss.per_cell(logits, label_2_of_the_first_study).item()
        assert (value > 5) == (wanted == "low")


def test_with_pi_one_the_study_loss_is_hce_to_the_bit():
    logits = torch.randn(16, N_TYPES, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(16) % N_TYPES
    weights = torch.rand(N_TYPES, generator=torch.Generator().manual_seed(1))
    one = build_loss("hce_study", torch.from_numpy(R), weights, pi=1.0)(logits, labels)
    assert one == build_loss("hce", torch.from_numpy(R), weights)(logits, labels)


def test_a_loss_that_takes_no_targets_says_so_when_it_is_given_some():
    loss = build_loss("ce", torch.from_numpy(R), torch.ones(N_TYPES))
    with pytest.raises(UserError, match="CrossEntropy takes no targets"):
        loss.take_targets(torch.from_numpy(TARGET_LABELS), torch.from_numpy(ANSWERS))


def test_a_study_loss_without_targets_says_so():
    loss = build_loss("hce_study", torch.from_numpy(R), torch.ones(N_TYPES))
    with pytest.raises(UserError, match="given no targets"):
        loss(torch.zeros(1, N_TYPES), torch.tensor([0]))


def test_smoothed_cross_entropy_is_torchs():
    logits = torch.randn(16, N_TYPES, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(16) % N_TYPES
    loss = build_loss("ce", torch.from_numpy(R), torch.ones(N_TYPES), smoothing=0.1)
    torch.testing.assert_close(
        loss(logits, labels),
        torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1),
    )


@pytest.mark.parametrize(
    "case", ["hce_log, smoothed", "hce_normalised, smoothed", "leaf, smoothed"]
)
def test_losses_in_log_space_stay_finite_with_a_gradient_at_any_gap(case):
    z = torch.tensor([[0.0, 0.0, 0.0, 0.0, -1e4, 1e4]]).requires_grad_()
    value = make(case, np.ones(N_TYPES))(z, torch.tensor([4]))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(z.grad).all()
    assert z.grad[0, 4] < -0.5


def test_the_leaf_loss_ignores_internal_logits_and_gives_them_no_probability():
    loss = build_loss("leaf", torch.from_numpy(R), torch.ones(N_TYPES))
    z = torch.tensor([[50.0, 3.0, -2.0, 7.0, 1.0, 0.5]]).requires_grad_()
    loss(z, torch.tensor([1])).backward()
    assert z.grad[0, :4].tolist() == [0, 0, 0, 0]
    p = loss.probabilities(z.detach())
    assert p[0, :4].tolist() == [0, 0, 0, 0]
    torch.testing.assert_close(p[0, 4:], torch.tensor([1.0, 0.5]).softmax(0))


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "leaf"])
def test_probabilities_are_the_softmax_of_the_logits(name):
    logits = torch.randn(4, N_TYPES, generator=torch.Generator().manual_seed(0))
    loss = build_loss(name, torch.from_numpy(R), torch.ones(N_TYPES))
    torch.testing.assert_close(loss.probabilities(logits), logits.softmax(1))
