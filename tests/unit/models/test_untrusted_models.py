"""A model file is a stranger's until it is checked: both formats run no code and fill no memory."""

import copy
import json
import resource
import sys
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from annotators import make_annotator
from faults import many_flips
from hce import checksums
from hce.annotate.annotator import load_annotator, save_annotator
from hce.config import named_classes
from hce.errors import UserError
from hce.models import MODELS, build_model
from hce.models.trained_model import load_model, save_model

FORMATS = pytest.mark.parametrize("form", ["pt", "hce"])


@pytest.fixture
def write(tmp_path):
    """Writes a model file of a format, with a change of what it holds, and returns its path."""

    def make(form, change=lambda annotator: None):
        annotator = make_annotator()
        # The modules of the tests share these tables.
        trained = copy.deepcopy(annotator.trained)
        annotator = type(annotator)(trained, annotator.calibrated_precision, annotator.scores)
        change(trained)
        path = tmp_path / f"model.{form}"
        if form == "hce":
            save_annotator(path, annotator)
            return path
        spec, loss = trained.provenance["model"], trained.provenance["loss"]
        hierarchy = SimpleNamespace(types=trained.types, reachability=trained.reachability)
        weights = trained.model.state_dict()
        save_model(path, spec, loss, weights, trained.genes, hierarchy, trained.provenance)
        return path

    return make


def load(path, **options):
    return load_annotator(path, **options) if path.suffix == ".hce" else load_model(path, **options)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_every_class_comes_back_from_the_file_that_is_handed_on(name, tmp_path):
    annotator = make_annotator()
    trained = annotator.trained
    spec = {"class": name, "arguments": {}}
    trained = replace(
        trained,
        model=build_model(name, len(trained.genes), len(trained.types)).eval(),
        provenance={**trained.provenance, "model": spec},
    )
    save_annotator(tmp_path / "model.hce", replace(annotator, trained=trained))
    found = load_annotator(tmp_path / "model.hce").trained.model.state_dict()
    for key, values in trained.model.state_dict().items():
        assert found[key].shape == values.shape
        assert torch.equal(found[key], values)


def test_another_model_in_the_place_of_one_that_a_run_wrote_is_refused(write):
    path = write("hce")
    checksums.record(path)
    load(path)
    write("hce", lambda trained: trained.model.bias.data.add_(1))
    with pytest.raises(UserError, match=r"model\.hce is not as it was written"):
        load(path)


@FORMATS
def test_a_file_with_a_changed_bit_is_refused_or_holds_what_was_written(form, write):
    path = write(form)
    weights = load(path)
    weights = getattr(weights, "trained", weights).model.state_dict()
    refused = 0
    for _ in many_flips(path, 100):
        try:
            found = load(path)
        except UserError:
            refused += 1
        else:
            found = getattr(found, "trained", found).model.state_dict()
            assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert refused > 60


@FORMATS
@pytest.mark.parametrize("kind", ["model", "loss"])
def test_a_class_that_the_config_does_not_name_is_not_imported(form, kind, write, monkeypatch):
    class Trap:
        def __getattr__(self, name):
            raise AssertionError("it was looked into")

    monkeypatch.setitem(sys.modules, "own_classes", Trap())
    spec = {"class": "own_classes:Own", "arguments": {}}
    path = write(form, lambda trained: trained.provenance.update({kind: spec}))
    with pytest.raises(
        UserError, match=f"names a {kind} that is not part of hce, 'own_classes:Own'"
    ):
        load(path)
    others = named_classes({"models": {"linear": {}}, "losses": {"x": {"class": "own_classes:X"}}})
    with pytest.raises(UserError, match="is not part of hce"):
        load(path, trusted=others)


@FORMATS
def test_a_class_that_the_config_names_is_imported(form, write, monkeypatch):
    own = type("Own", (type(build_model("linear", 2, 2)),), {})
    monkeypatch.setitem(sys.modules, "own_classes", SimpleNamespace(Own=own))
    spec = {"class": "own_classes:Own", "arguments": {}}
    path = write(form, lambda trained: trained.provenance.update(model=spec))
    config = {"models": {"mine": {"class": "own_classes:Own"}}, "losses": {"hce": {}}}
    loaded = load(path, trusted=named_classes(config))
    trained = getattr(loaded, "trained", loaded)
    assert type(trained.model) is own


@FORMATS
def test_a_function_in_place_of_a_class_is_not_called(form, write, tmp_path):
    spec = {"class": "os:system", "arguments": {}}
    path = write(form, lambda trained: trained.provenance.update(model=spec))
    with pytest.raises(UserError, match="os:system is not a class"):
        load(path, trusted={"os:system"})


def set_weight(value):
    def change(trained):
        trained.model.weight.data[1, 2] = value

    return change


def set_cell(table, row, column, value):
    def change(trained):
        getattr(trained, table).loc[row, column] = value

    return change


def relate(above, below, value=True):
    def change(trained):
        trained.reachability[above, below] = value

    return change


def other_sizes(trained):
    trained.provenance["model"] = {"class": "mlp", "arguments": {"hidden_size": 2_000_000}}


def layers(name, **arguments):
    def change(trained):
        trained.provenance["model"] = {"class": name, "arguments": arguments}

    return change


@FORMATS
@pytest.mark.parametrize(
    "change",
    [
        layers("mlp", n_hidden=10**7),
        layers("tabnet", n_steps=10**7),
        layers("tabnet", n_shared=10**7),
        layers("tabnet", n_independent=10**7, n_shared=0),
        layers("tabnet", n_steps=2, n_independent=2),  # of 2 weights; each would do alone
    ],
)
def test_layers_without_weights_are_refused_before_they_are_made(form, change, write, monkeypatch):
    def build(*arguments, **keywords):
        raise AssertionError("it was built")

    path = write(form, change)
    monkeypatch.setattr("hce.models.trained_model.build_model", build)
    with pytest.raises(UserError, match="its 2 weights are fewer than the layers that it describ"):
        load(path)


@FORMATS
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_weight(np.nan), "weights weight have values that are not numbers"),
        (set_weight(np.inf), "weights weight have values that are not numbers"),
        (set_cell("types", 1, "label", "monocyte"), "label 'monocyte' occurs twice"),
        (set_cell("types", 1, "cl_id", "CL:0000576"), "cl_id 'CL:0000576' occurs twice"),
        (set_cell("genes", 1, "feature_id", "ENSG00000000005"), "'ENSG00000000005' occurs twice"),
        (relate(2, 1), "two types are below each other"),
        (relate(3, 3, False), "a type is not below itself"),
        (relate(0, 2, False), "lacks one that is above both"),
        (other_sizes, "weights do not fit the mlp that it describes"),
    ],
)
def test_what_contradicts_itself_is_one_sentence(form, change, words, write):
    path = write(form, change)
    with pytest.raises(UserError, match=words) as refused:
        load(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@FORMATS
def test_a_small_file_that_unpacks_to_gigabytes_is_refused_before_it_does(form, write):
    path = write(form)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        with archive.open("archive/data/99", "w", force_zip64=True) as member:
            for _ in range(600):
                member.write(bytes(2**20))
    assert path.stat().st_size < 4 * 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"bytes would unpack to 6[0-9]{2},"):
        load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 2**10


def test_a_model_file_that_claims_a_giant_takes_no_memory(write, tmp_path):
    path = write("hce")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(members["model.json"])
    header["model"] = {"class": "mlp", "arguments": {"hidden_size": 200_000}}  # 160 GB of weights
    members["model.json"] = json.dumps(header).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match="weights do not fit the mlp"):
        load_annotator(path)


def test_weights_are_checked_on_the_way_and_not_changed(write):
    trained = load_model(write("pt"))
    assert torch.equal(trained.model.weight, make_annotator().trained.model.weight)
