"""Checkpoints as the paper's code writes them; what they hold is from its description."""

import copy
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from hce.errors import UserError
from hce.models import build_model
from hce.models.published_checkpoints import convert_checkpoint, read_published_checkpoint
from hce.models.trained_model import load_model

GENES = [f"G{i}" for i in range(40)]
SMALL = {
    "linear": {},
    "mlp": {"hidden_size": 8, "n_hidden": 2},
    "tabnet": {"n_d": 6, "n_a": 4, "n_independent": 2, "n_shared": 2, "virtual_batch_size": 16},
}


def with_aliases(weights):
    """The further names under which TabNet's shared layers stand in the published files."""
    state = dict(weights)
    for name, value in weights.items():
        lent = "encoder.initial_splitter.shared.glu_layers."
        if name.startswith(lent) and name.endswith(".fc.weight"):
            number = name.removeprefix(lent).split(".")[0]
            for block in ("initial_splitter", "feat_transformers.0"):
                state[f"encoder.{block}.shared.shared_layers.{number}.weight"] = value
            state[f"encoder.feat_transformers.0.shared.glu_layers.{number}.fc.weight"] = value
    return state


@pytest.fixture
def write(tmp_path, hierarchy):
    """Writes a checkpoint with all that the published ones hold."""

    def write(name, **changes) -> tuple[Path, torch.nn.Module]:
        n_types = len(hierarchy)
        torch.manual_seed(0)
        model = build_model(name, len(GENES), n_types, **SMALL[name])
        if name != "linear":
            model(torch.rand(32, len(GENES)))  # running statistics of their own
        child = torch.from_numpy(hierarchy.reachability)
        state = {
            "class_weights": torch.rand(n_types),
            "child_lookup": child.long(),
            "child_lookup_transposed": child.float().T,
        }
        if name != "linear":
            state["augmentations"] = torch.rand(5, len(GENES))
        weights = with_aliases(model.state_dict())
        state |= {f"classifier.{key}": value for key, value in weights.items()}
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        content = {
            "epoch": 1,
            "global_step": 14882,
            "pytorch-lightning_version": "2.0.0",
            "state_dict": state,
            "loops": {"fit_loop": {"state_dict": {}}},
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.8)}},
            "optimizer_states": [optimizer.state_dict()],
            "lr_schedulers": [torch.optim.lr_scheduler.StepLR(optimizer, 1).state_dict()],
            "hparams_name": "kwargs",
            "hyper_parameters": {
                "gene_dim": len(GENES),
                "type_dim": n_types,
                "train_set_size": np.int64(15240192),
                "learning_rate": 0.005,
                "optimizer": torch.optim.AdamW,
                "lr_scheduler": torch.optim.lr_scheduler.StepLR,
                "lr_scheduler_kwargs": {"step_size": 1, "gamma": 0.9},
                "use_hierarchical_loss": True,
            },
        }
        for key, value in changes.items():
            (state if key in state else content)[key] = value
        path = tmp_path / "published.ckpt"
        torch.save(content, path)
        return path, model.eval()

    return write


@pytest.fixture
def read(hierarchy):
    def read(path, name, genes=GENES, types=None, arguments=None):
        return read_published_checkpoint(
            path,
            name,
            SMALL[name] if arguments is None else arguments,
            genes,
            hierarchy.types["label"].tolist() if types is None else types,
            hierarchy.reachability if types is None else None,
        )

    return read


@pytest.mark.parametrize("name", SMALL)
def test_a_published_checkpoint_gives_the_model_that_was_saved(write, read, name):
    path, model = write(name)
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(path, weights_only=True)  # which is why there is an allow-list
    found = read(path, name)
    x = torch.rand(9, len(GENES))
    torch.testing.assert_close(found.model(x), model(x))
    assert (found.augmentations is None) == (name == "linear")
    assert found.provenance["epoch"] == 1
    plain = found.provenance["hyper_parameters"]
    assert plain["optimizer"] == "AdamW"
    assert plain["train_set_size"] == 15240192
    assert plain["lr_scheduler_kwargs"] == {"step_size": 1, "gamma": 0.9}


def test_the_allow_list_holds_for_this_read_only(write, read):
    path, _ = write("linear")
    read(path, "linear")
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(path, weights_only=True)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(write, read, tmp_path):
    trace = tmp_path / "was here"
    path, _ = write("linear", callbacks=Malicious(trace))
    with pytest.raises(UserError, match=r"contains posix\.mkdir, which could run code"):
        read(path, "linear")
    assert not trace.exists()
    torch.load(path, weights_only=False)  # the trap works
    assert trace.exists()


@pytest.mark.parametrize("name", SMALL)
def test_other_genes_are_refused(write, read, name):
    path, _ = write(name)
    with pytest.raises(UserError, match="is a model of 40 genes, but the run has 39"):
        read(path, name, genes=GENES[1:])


@pytest.mark.parametrize("name", SMALL)
def test_another_number_of_types_is_refused(write, read, name, hierarchy):
    path, _ = write(name)
    with pytest.raises(UserError, match="is a model of 164 types, but the run has 163"):
        read(path, name, types=hierarchy.types["label"].tolist()[1:])


def test_types_in_another_order_are_refused(write, read, hierarchy):
    path, _ = write("linear")
    with pytest.raises(UserError, match="are in another order: number the types by sorted"):
        read(path, "linear", types=hierarchy.types["label"].tolist()[::-1])


def test_types_that_were_numbered_otherwise_in_the_checkpoint_are_found_by_its_hierarchy(
    write, read, hierarchy
):
    order = np.random.default_rng(0).permutation(len(hierarchy))
    other = torch.from_numpy(hierarchy.reachability[np.ix_(order, order)]).long()
    path, _ = write("linear", child_lookup=other)
    with pytest.raises(UserError, match="types in another order or another hierarchy"):
        read(path, "linear")


def test_a_hierarchy_that_differs_in_one_pair_is_accepted_with_a_warning(
    write, read, hierarchy, caplog
):
    other = torch.from_numpy(hierarchy.reachability.copy()).long()
    above, below = np.argwhere(hierarchy.reachability & ~np.eye(len(hierarchy), dtype=bool))[0]
    other[above, below] = 0
    path, _ = write("linear", child_lookup=other)
    read(path, "linear")
    assert "the hierarchy differs in 1 pairs" in caplog.text


def test_class_weights_of_other_types_are_refused(write, read):
    path, _ = write("linear", class_weights=torch.ones(163))
    with pytest.raises(UserError, match=r"its buffer class_weights has shape \(163,\)"):
        read(path, "linear")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mlp", {"n_hidden": 3}),
        ("mlp", {"hidden_size": 9}),
        ("tabnet", {"n_steps": 2}),
        ("tabnet", {"n_independent": 1}),
    ],
)
def test_another_architecture_is_refused(write, read, name, changes):
    path, _ = write(name)
    with pytest.raises(UserError, match=f"does not have the weights of a {name} with the arg"):
        read(path, name, arguments=SMALL[name] | changes)


def test_another_class_is_refused(write, read):
    path, _ = write("mlp")
    with pytest.raises(UserError, match="does not have the weights of a tabnet"):
        read(path, "tabnet")


def test_shared_layers_that_differ_are_refused(write, read):
    alias = "classifier.encoder.feat_transformers.0.shared.glu_layers.1.fc.weight"
    path, _ = write("tabnet")
    original = dict(torch.load(path, weights_only=False)["state_dict"])[alias]
    path, _ = write("tabnet", **{alias: copy.deepcopy(original) + 1})
    with pytest.raises(UserError, match=r"the shared layer .* differs"):
        read(path, "tabnet")


def test_what_is_no_checkpoint_is_named(write, read, tmp_path):
    with pytest.raises(UserError, match="There is no checkpoint"):
        read(tmp_path / "absent.ckpt", "linear")
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    with pytest.raises(UserError, match="is not a checkpoint: fetch it again"):
        read(tmp_path / "text.ckpt", "linear")
    torch.save({"weights": torch.ones(2)}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="no weights under classifier"):
        read(tmp_path / "other.ckpt", "linear")
    path, _ = write("linear")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="is not a checkpoint: fetch it again"):
        read(path, "linear")


@pytest.mark.parametrize("name", SMALL)
def test_a_model_file_made_of_a_checkpoint_predicts_as_the_checkpoint(
    write, name, hierarchy, tmp_path
):
    path, model = write(name)
    genes = pd.DataFrame({"feature_id": GENES, "feature_name": GENES})
    spec, loss = {"class": name, "arguments": SMALL[name]}, {"class": "hce", "arguments": {}}
    convert_checkpoint(path, tmp_path / "model.pt", spec, loss, genes, hierarchy, seed=3)
    trained = load_model(tmp_path / "model.pt")
    x = torch.rand(9, len(GENES))
    torch.testing.assert_close(trained.probabilities(x), model(x).softmax(dim=1))
    assert trained.types["label"].tolist() == hierarchy.labels
    assert trained.provenance["seed"] == 3
    assert trained.provenance["best_epoch"] == 1
    assert trained.provenance["published"]["file"] == path.name
    assert trained.provenance["published"]["augmentation"] == (name != "linear")
