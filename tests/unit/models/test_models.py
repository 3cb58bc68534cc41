import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import yaml

from hce.errors import UserError
from hce.losses import build_loss
from hce.models import MODELS, build_model
from hce.training.loop import training_step

SMALL = {
    "linear": {},
    "mlp": {"hidden_size": 16, "n_hidden": 2, "dropout": 0.0},
    "tabnet": {"n_d": 8, "n_a": 8, "n_independent": 1, "n_shared": 1, "virtual_batch_size": 32},
}


def test_every_model_is_tested():
    assert SMALL.keys() == MODELS.keys()


@pytest.mark.parametrize("name", MODELS)
def test_logits_have_a_row_a_cell_and_a_column_a_type(name):
    model = build_model(name, 50, 7, **SMALL[name])
    assert model(torch.rand(64, 50)).shape == (64, 7)
    assert model.eval()(torch.rand(1, 50)).shape == (1, 7)


@pytest.mark.parametrize("name", MODELS)
def test_training_steps_learn_separable_types(name):
    torch.manual_seed(0)
    labels = torch.arange(128) % 4
    x = torch.rand(128, 30) + 2 * torch.nn.functional.one_hot(labels, 30)
    model = build_model(name, 30, 4, **SMALL[name])
    loss = build_loss("ce", torch.eye(4, dtype=torch.bool), torch.ones(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for _ in range(60):
        training_step(model, loss, optimizer, 1.0, x, labels)
    assert (model(x).argmax(1) == labels).float().mean() > 0.95


def test_a_penalty_is_part_of_the_loss_of_a_step():
    model = build_model("tabnet", 30, 4, **SMALL["tabnet"])
    loss = build_loss("ce", torch.eye(4, dtype=torch.bool), torch.ones(4))
    x, labels = torch.rand(64, 30), torch.arange(64) % 4
    values = []
    for model.lambda_sparse in (0.0, 10.0):
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
        values.append(training_step(model, loss, optimizer, 1.0, x, labels).item())
    assert values[1] > values[0] + 1


def test_the_mlp_is_that_of_the_papers_runs():
    model = build_model("mlp", 50, 7)
    kinds = [type(layer).__name__ for layer in model.encoder]
    layer = ["Linear", "BatchNorm1d", "SiLU", "Dropout"]
    assert kinds == ["WideLinear", *layer[1:], *layer * 7]
    assert {layer.p for layer in model.encoder[3::4]} == {0.1}
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    assert shapes["encoder.0.weight"] == (128, 50)
    assert shapes["encoder.28.weight"] == (128, 128)
    assert shapes["encoder.29.weight"] == (128,)
    assert shapes["linear.weight"] == (7, 128)
    assert set(build_model("linear", 50, 7).state_dict()) == {"weight", "bias"}


def test_the_catalogue_has_the_papers_optimisers(repository):
    models = yaml.safe_load((repository / "config/config.yaml").read_text())["models"]
    rates = {
        name: (m["optimizer"]["lr"], m["optimizer"]["weight_decay"]) for name, m in models.items()
    }
    assert rates["linear"] == (5e-4, 0.01)
    assert rates["mlp"] == (2e-3, 0.05)
    assert rates["tabnet"] == (5e-3, 0.05)


@pytest.mark.parametrize("name", ["mlp", "tabnet"])
def test_arguments_that_a_model_does_not_take_are_refused(name):
    with pytest.raises(UserError, match="does not accept its arguments"):
        build_model(name, 5, 2, depth=3)


class TestAClassOfOnesOwn:
    """Each mistake is told in a sentence before any training."""

    @pytest.fixture
    def own(self, monkeypatch):
        """Makes a model class importable and returns its name."""

        def make(forward, base=torch.nn.Module):
            def __init__(self, n_genes, n_types):
                base.__init__(self)
                self.layer = torch.nn.Linear(n_genes, n_types)

            made = type("Own", (base,), {"__init__": __init__, "forward": forward})
            monkeypatch.setitem(sys.modules, "own_models", SimpleNamespace(Own=made))
            return "own_models:Own"

        return make

    def test_one_that_gives_logits_is_built_in_training_mode(self, own):
        model = build_model(own(lambda self, x: self.layer(x)), 5, 3)
        assert model.training
        assert model(torch.rand(2, 5)).shape == (2, 3)

    def test_another_shape_is_refused(self, own):
        name = own(lambda self, x: self.layer(x)[:, :2])
        with pytest.raises(
            UserError, match=r"returns shape \(2, 2\) for two cells: .*\(cells, 3\)"
        ):
            build_model(name, 5, 3)

    def test_what_is_no_tensor_is_refused(self, own):
        with pytest.raises(UserError, match=r"returns <class 'tuple'> for two cells"):
            build_model(own(lambda self, x: (self.layer(x), x)), 5, 3)

    def test_a_forward_that_fails_is_refused_with_its_reason(self, own):
        def forward(self, x):
            raise RuntimeError("cannot reshape")

        name = own(forward)
        with pytest.raises(UserError, match=r"fails on two cells: .* \(cannot reshape\)"):
            build_model(name, 5, 3)

    def test_a_class_that_is_no_module_is_refused(self, own):
        with pytest.raises(UserError, match=r"is not a torch\.nn\.Module"):
            build_model(own(lambda self, x: x, base=object), 5, 3)

    @pytest.mark.parametrize(
        "name", ["no_such_package:Model", "hce.models:Absent", "hce.models:MODELS.x"]
    )
    def test_a_class_that_cannot_be_imported_is_refused(self, name):
        with pytest.raises(UserError, match="cannot be imported"):
            build_model(name, 5, 3)

    def test_an_unknown_name_lists_what_is_known(self):
        with pytest.raises(UserError, match="known are linear, mlp, tabnet"):
            build_model("svm", 5, 3)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_described_without_importing_a_compiler(name):
    script = f"""
import sys, torch
from hce.models import build_model
with torch.device("meta"):
    build_model({name!r}, 7, 3)
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
