"""TabNet against the network of the package pytorch-tabnet, in float64."""

import copy

import pytest
import torch

from hce.errors import UserError
from hce.models import build_model, mask, tabnet
from hce.models.entmax import SortedEntmax15, entmax15
from hce.models.entmax_rows import RowsEntmax15, candidates
from hce.models.ghost_norm import GhostBatchNorm

N_GENES, N_TYPES, GHOST = 90, 7, 16
SHAPE = {
    "n_d": 6,
    "n_a": 5,
    "gamma": 1.3,
    "n_independent": 2,
    "n_shared": 3,
    "virtual_batch_size": GHOST,
}


def expression(n_cells, seed=0, n_genes=N_GENES):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n_cells, n_genes, generator=generator, dtype=torch.float64) * 4
    return x * (torch.rand(n_cells, n_genes, generator=generator) < 0.3)


@pytest.fixture
def networks(monkeypatch):
    """Makes our network and the package's, with the same weights."""
    # The package makes its sqrt(0.5) in float32 even where all else is float64.
    monkeypatch.setattr(torch, "FloatTensor", torch.DoubleTensor)
    package = pytest.importorskip(
        "pytorch_tabnet.tab_network", reason="pytorch-tabnet is not installed"
    )

    def make(**changes):
        arguments = SHAPE | {"n_steps": 1} | changes
        torch.manual_seed(0)
        theirs = package.TabNetNoEmbeddings(
            N_GENES,
            N_TYPES,
            mask_type="entmax",
            group_attention_matrix=torch.eye(N_GENES, dtype=torch.float64),
            **arguments,
        ).double()
        theirs.encoder.group_attention_matrix = torch.eye(N_GENES, dtype=torch.float64)
        with torch.no_grad():  # normalisations that do something
            for name, value in theirs.named_parameters():
                if ".bn." in name or "initial_bn" in name:
                    value.add_(torch.randn_like(value) * 0.2)
        model = build_model("tabnet", N_GENES, N_TYPES, **arguments).double()
        state = theirs.state_dict()
        state = {k: v for k, v in state.items() if not k.startswith("initial_bn.")}
        model.load_state_dict(state)
        return model, theirs

    return make


def compare(model, theirs, x, weight=0.3):
    """Outputs, entropies, gradients and running statistics."""
    labels = torch.arange(len(x)) % N_TYPES
    model.lambda_sparse = weight
    logits, (expected, m_loss) = model(x), theirs(x)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-10)
    loss = torch.nn.functional.cross_entropy(logits, labels) + model.penalty()
    other = torch.nn.functional.cross_entropy(expected, labels) - weight * m_loss
    torch.testing.assert_close(loss, other, rtol=1e-9, atol=1e-10)
    loss.backward()
    other.backward()
    gradients = {
        name: value.grad for name, value in theirs.named_parameters(remove_duplicate=False)
    }
    for name, value in model.named_parameters():
        torch.testing.assert_close(value.grad, gradients[name], rtol=1e-7, atol=1e-10)
    buffers = dict(theirs.named_buffers())
    for name, value in model.named_buffers():
        torch.testing.assert_close(value, buffers[name], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("changes", [{}, {"n_steps": 3}, {"n_shared": 0}, {"n_independent": 0}])
@pytest.mark.parametrize(("sparse", "static"), [(0.0, False), (1.0, False), (0.0, True)])
def test_training_equals_the_package_with_its_gradients_and_statistics(
    networks, monkeypatch, changes, sparse, static
):
    monkeypatch.setattr(mask, "SPARSE", sparse)
    monkeypatch.setattr(tabnet, "has_static_shapes", lambda device: static)
    model, theirs = networks(**changes)
    compare(model, theirs, expression(4 * GHOST))


def test_evaluation_equals_the_package_after_a_training_step(networks):
    model, theirs = networks(n_steps=2)
    compare(model, theirs, expression(4 * GHOST))
    x = expression(21, seed=1)
    torch.testing.assert_close(model.eval()(x), theirs.eval()(x)[0], rtol=1e-9, atol=1e-10)


def test_gradients_of_the_expression_equal_the_packages(networks):
    model, theirs = networks(n_steps=2)
    x, y = (expression(2 * GHOST).requires_grad_() for _ in range(2))
    model(x).square().sum().backward()
    theirs(y)[0].square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-7, atol=1e-9)


def test_names_of_parameters_are_those_of_the_published_checkpoints_without_aliases():
    names = set(build_model("tabnet", 40, 3, **SHAPE).state_dict())
    assert {
        "encoder.initial_bn.running_mean",
        "encoder.initial_splitter.shared.glu_layers.2.fc.weight",
        "encoder.initial_splitter.specifics.glu_layers.1.bn.bn.num_batches_tracked",
        "encoder.feat_transformers.0.shared.glu_layers.0.bn.bn.weight",
        "encoder.att_transformers.0.fc.weight",
        "encoder.att_transformers.0.bn.bn.running_var",
        "final_mapping.weight",
    } < names
    assert not any("shared_layers" in name for name in names)


def test_the_defaults_are_those_of_the_papers_runs():
    model = build_model("tabnet", 50, 7)
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    assert shapes["encoder.initial_splitter.shared.glu_layers.2.fc.weight"] == (384, 192)
    assert shapes["encoder.initial_splitter.specifics.glu_layers.4.fc.weight"] == (384, 192)
    assert shapes["encoder.att_transformers.0.fc.weight"] == (50, 64)
    assert shapes["final_mapping.weight"] == (7, 128)
    assert len(model.encoder.att_transformers) == 1
    assert model.lambda_sparse == 1e-5
    norms = [module for module in model.modules() if isinstance(module, GhostBatchNorm)]
    assert {(norm.size, norm.momentum) for norm in norms} == {(256, 0.02)}
    assert model.encoder.initial_bn.momentum == 0.01


def test_initial_weights_have_the_published_spread():
    torch.manual_seed(0)
    state = build_model("tabnet", 2000, 164).state_dict()
    for name, n_in, gated in [
        ("encoder.initial_splitter.shared.glu_layers.0.fc.weight", 2000, True),
        ("encoder.feat_transformers.0.specifics.glu_layers.3.fc.weight", 192, True),
        ("encoder.att_transformers.0.fc.weight", 64, False),
        ("final_mapping.weight", 128, False),
    ]:
        # gain × sqrt(2 / (in + out)), with the gains of the published code
        expected = (2 / (n_in**0.5 if gated else (4 * n_in) ** 0.5)) ** 0.5
        assert state[name].std().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("n_cells", "parts"),
    [(10, [10]), (31, [31]), (32, [16, 16]), (47, [24, 23]), (50, [17, 17, 16])],
)
def test_a_batch_has_floor_n_over_size_parts_and_at_least_one(n_cells, parts):
    norm = GhostBatchNorm(3, 16, 0.02)
    assert norm.parts(n_cells) == parts
    x = torch.randn(n_cells, 3, generator=torch.Generator().manual_seed(0))
    plain = torch.nn.BatchNorm1d(3, momentum=0.02)
    expected = torch.cat([plain(part) for part in x.split(parts)])
    torch.testing.assert_close(norm(x), expected)
    torch.testing.assert_close(norm.bn.running_mean, plain.running_mean)
    torch.testing.assert_close(norm.bn.running_var, plain.running_var)


def test_a_single_cell_cannot_be_normalised():
    with pytest.raises(UserError, match="A training batch of 1 cells leaves a single cell"):
        GhostBatchNorm(3, 16, 0.02)(torch.zeros(1, 3))


def test_unequal_parts_of_a_batch_are_normalised_as_one_after_the_other():
    torch.manual_seed(0)
    model = build_model("tabnet", N_GENES, N_TYPES, **SHAPE).double()
    alone = copy.deepcopy(model)
    x = expression(3 * GHOST + 2)
    # With all cells alike in the input's statistics, parts do not see each other.
    model.encoder.initial_bn.eval()
    alone.encoder.initial_bn.eval()
    for network in (model, alone):
        network.encoder.input_fold = lambda e, n=network: (
            n.encoder.initial_bn.weight,
            n.encoder.initial_bn.bias,
        )
    expected = torch.cat([alone(part) for part in x.split([17, 17, 16])])
    torch.testing.assert_close(model(x), expected)


def test_a_network_without_layers_is_refused():
    with pytest.raises(UserError, match="n_steps 0"):
        build_model("tabnet", 4, 2, n_steps=0)


def test_the_penalty_is_read_once_and_belongs_to_training():
    model = build_model("tabnet", N_GENES, N_TYPES, **SHAPE)
    x = expression(GHOST).float()
    model(x)
    assert model.penalty() > 0
    with pytest.raises(RuntimeError, match="last forward pass"):
        model.penalty()
    copy.deepcopy(model)
    model.eval()(x)
    with pytest.raises(RuntimeError, match="last forward pass"):
        model.penalty()


def test_bfloat16_products_give_nearly_the_same_with_finite_gradients():
    torch.manual_seed(0)
    model = build_model("tabnet", N_GENES, N_TYPES, **SHAPE)
    x = expression(8 * GHOST).float()
    exact = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(x)
    assert torch.corrcoef(torch.stack([exact.flatten(), rough.float().flatten()]))[0, 1] > 0.99
    (rough.float().square().sum() + model.penalty()).backward()
    assert all(torch.isfinite(value.grad).all() for value in model.parameters())


def rows(kind, n_genes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(12, n_genes, generator=generator, dtype=torch.float64)
    return {
        "spread": z,
        "peaked": z * 10,
        "nearly flat": z * 1e-3,
        "flat": z * 0,
        "tied": z.round(),
        "mixed": z * torch.logspace(-4, 2, 12, dtype=torch.float64)[:, None],
        "shifted": z + 1e4,
    }[kind]


@pytest.mark.parametrize("n_genes", [1, 2, 33, 129, 300, 5000])
@pytest.mark.parametrize(
    "kind", ["spread", "peaked", "nearly flat", "flat", "tied", "mixed", "shifted"]
)
def test_entmax_is_on_the_simplex_and_solves_its_equation(kind, n_genes):
    z = rows(kind, n_genes)
    p = entmax15(z)
    torch.testing.assert_close(p.sum(1), torch.ones(12, dtype=torch.float64))
    # where p > 0, z / 2 − sqrt(p) is one number, τ; elsewhere z / 2 is not above it
    tau = (z / 2 - p.sqrt()).amin(1, keepdim=True).clamp(max=1e9)
    largest = z.amax(1, keepdim=True) / 2 - p.amax(1, keepdim=True).sqrt()
    assert ((z / 2 - p.sqrt() - largest).abs()[p > 1e-12] < 1e-9).all()
    assert (z / 2 <= largest + 1e-6)[p == 0].all()
    assert (tau <= largest + 1e-9).all()
    cells, genes = candidates(z)
    found = torch.zeros_like(p, dtype=torch.bool)
    found[cells, genes] = True
    assert (p[~found] == 0).all()


@pytest.mark.parametrize("n_genes", [5, 300, 3000])
@pytest.mark.parametrize("kind", ["spread", "peaked", "nearly flat", "mixed"])
def test_entmax_and_its_gradient_equal_the_packages(kind, n_genes):
    package = pytest.importorskip("entmax", reason="entmax is not installed")
    z, other = (rows(kind, n_genes).requires_grad_() for _ in range(2))
    weights = torch.randn(n_genes, generator=torch.Generator().manual_seed(1)).double()
    p, expected = entmax15(z), package.entmax15(other, dim=1)
    torch.testing.assert_close(p, expected, rtol=1e-8, atol=1e-10)
    (p * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(z.grad, other.grad, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", ["spread", "peaked", "nearly flat", "tied", "mixed"])
def test_entmax_by_sorting_and_of_the_candidates_alone_is_the_same(kind):
    z = rows(kind, 5000)
    cells, genes = candidates(z)
    few = z[cells, genes]
    weights = torch.randn(z.shape, generator=torch.Generator().manual_seed(1)).double()
    starts = torch.searchsorted(cells, torch.arange(len(z) + 1))
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        given = [z.clone().requires_grad_(), z.clone().requires_grad_(), few.requires_grad_()]
        made = [entmax15(given[0]), SortedEntmax15.apply(given[1])]
        made.append(torch.zeros_like(z))
        made[2] = made[2].index_put((cells, genes), RowsEntmax15.apply(given[2], starts))
        gradients = [
            torch.autograd.grad((p * weights).sum(), x)[0] for p, x in zip(made, given, strict=True)
        ]
        torch.testing.assert_close(made[1], made[0], rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(made[2], made[0], rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-6, atol=1e-8)
        at = gradients[0][cells, genes]
        torch.testing.assert_close(gradients[2], at, rtol=1e-7, atol=1e-9)
        found.append([made[0].detach(), gradients[0]])
    torch.set_num_threads(1)
    assert all(torch.equal(one, three) for one, three in zip(*found, strict=True))


def test_entmax_gradient_equals_finite_differences():
    z = rows("spread", 7)[:3].requires_grad_()
    assert torch.autograd.gradcheck(entmax15, (z,))


def test_entmax_of_huge_logits_is_that_of_their_differences():
    largest = torch.finfo(torch.float32).max / 4
    z = torch.full((4, 300), -largest)
    z[0, 5], z[1, 7], z[2, :9], z[3, 4:6] = 0, 1e30, largest, torch.tensor([1e4, 1e4 + 1])
    p = entmax15(z)
    torch.testing.assert_close(p.sum(1), torch.ones(4))
    assert p[0, 5] == p[1, 7] == 1
    torch.testing.assert_close(p[2, :9], torch.full((9,), 1 / 9))
    torch.testing.assert_close(p[3, 4:6], entmax15(torch.tensor([[0.0, 1.0]]))[0])
    cells, genes = candidates(z)
    assert cells.tolist() == [0, 1, *[2] * 9, 3, 3]
    assert genes.tolist() == [5, 7, *range(9), 4, 5]


@pytest.mark.parametrize("n_genes", [5, 300, 3000])
@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_entmax_of_what_is_not_finite_is_not_a_number_and_other_rows_are_as_before(odd, n_genes):
    z = rows("spread", n_genes)
    expected = entmax15(z)
    z[[0, 7, 7], [1, 4, 2]] = odd
    p = entmax15(z)
    others = [row not in (0, 7) for row in range(12)]
    assert p[[0, 7]].isnan().all()
    assert torch.equal(p[others], expected[others])
    cells, genes = candidates(z)
    starts = torch.searchsorted(cells, torch.arange(len(z) + 1))
    few = RowsEntmax15.apply(z[cells, genes], starts)
    assert few.isnan()[(cells == 0) | (cells == 7)].all()
    assert SortedEntmax15.apply(z)[[0, 7]].isnan().all()


@pytest.mark.parametrize("cells", [32, 128])
def test_a_weight_that_is_not_a_number_makes_logits_so_in_place_of_an_error(cells):
    """In the attention, so that the mask is computed from it; of all parts and of one."""
    model = build_model("tabnet", 3000, 5, n_d=6, n_a=5, virtual_batch_size=32)
    with torch.no_grad():
        model.encoder.att_transformers[0].bn.bn.bias[7] = float("nan")
    assert model(torch.rand(cells, 3000)).isnan().all()
