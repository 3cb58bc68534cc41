"""Mistakes in the catalogues of models and losses are told before any long job."""

import sys
from types import SimpleNamespace

import pytest
import torch
import yaml

from hce.errors import UserError
from hce.losses import HierarchicalLoss
from hce.training.catalogue import try_catalogue


def spec(name, **arguments):
    return {"x": {"class": name, "arguments": arguments}}


def test_a_step_is_taken_with_every_model_and_loss_of_the_paper(repository, monkeypatch):
    backward, steps = torch.Tensor.backward, []
    monkeypatch.setattr(torch.Tensor, "backward", lambda t: (steps.append(t), backward(t)))
    config = yaml.safe_load((repository / "config/config.yaml").read_text())
    models, losses = (
        {
            name: {"class": entry.get("class", name), "arguments": entry.get("arguments", {})}
            for name, entry in config[key].items()
        }
        for key in ("models", "losses")
    )
    try_catalogue(models, losses)
    assert len(steps) == len(models) + len(losses)


@pytest.mark.parametrize(
    ("models", "losses", "words"),
    [
        (spec("mlpp"), {}, r"models\.x does not work: Unknown model 'mlpp'.*linear, mlp, tabnet"),
        (spec("mlp", hiden_size=3), {}, r"models\.x .* unexpected keyword argument 'hiden_size'"),
        (
            spec("mlp", hidden_size=-1),
            {},
            r"models\.x does not work: The model mlp does not accept its",
        ),
        (spec("mlp", dropout=2.0), {}, r"models\.x .*dropout probability has to be between 0 and"),
        (
            spec("mlp", dropout="0.1"),
            {},
            r"models\.x does not work: The model mlp does not accept its",
        ),
        (spec("no.such:Model"), {}, r"models\.x .* no\.such:Model cannot be imported"),
        (spec("os:system"), {}, r"models\.x .* os:system is not a class"),
        ({}, spec("hcee"), r"losses\.x does not work: Unknown loss 'hcee'"),
        ({}, spec("hce", smoothing=1.5), r"losses\.x .* smoothing 1\.5: it must be from 0"),
        ({}, spec("hce", temperature=2), r"losses\.x .* argument 'temperature'"),
        ({}, spec("hce", smoothing="much"), r"losses\.x does not work"),
        ({}, spec("torch.nn:Linear"), r"losses\.x .* is not derived from HierarchicalLoss"),
    ],
)
def test_a_mistake_names_its_key(models, losses, words):
    with pytest.raises(UserError, match=words) as error:
        try_catalogue(models, losses)
    assert "\n" not in str(error.value)


class TestClassesOfOnesOwn:
    @pytest.fixture(autouse=True)
    def own(self, monkeypatch):
        class Model(torch.nn.Linear):
            def __init__(self, n_genes, n_types, width=3):
                assert n_genes == 19_331, "it is made for these genes alone"
                super().__init__(n_genes, n_types)

            def forward(self, expression):
                raise AssertionError("made for other sizes")

        class Loss(HierarchicalLoss):
            def __init__(self, reachability, class_weights, alpha):
                super().__init__(reachability, class_weights)

        monkeypatch.setitem(sys.modules, "own", SimpleNamespace(Model=Model, Loss=Loss))

    def test_are_held_to_their_arguments_and_not_to_other_sizes(self):
        try_catalogue(spec("own:Model", width=4), spec("own:Loss", alpha=1))

    @pytest.mark.parametrize(
        ("models", "losses"), [(spec("own:Model", wdth=4), {}), ({}, spec("own:Loss"))]
    )
    def test_that_are_given_other_arguments_are_refused(self, models, losses):
        with pytest.raises(UserError, match="does not accept its arguments"):
            try_catalogue(models, losses)
