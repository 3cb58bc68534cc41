"""Augmented models and published checkpoints beside the fits of the small demo."""

import numpy as np
import pandas as pd
import pytest
import torch

from hce.files import read_tsv, sha256_of
from hce.models.trained_model import load_model
from hce.ontology import Hierarchy

pytestmark = pytest.mark.workflow

MLP = {"arguments": {"hidden_size": 16, "n_hidden": 1}}


@pytest.fixture(scope="module")
def place(finished, tmp_path_factory):
    """A copy of the finished run, with an augmented MLP and a checkpoint made of a linear fit."""
    place = finished.copy(tmp_path_factory.mktemp("models") / "place")
    fitted = load_model(place.folder / "results/demo/fits/linear/hce/0/model.pt")
    content = {
        "state_dict": {f"classifier.{k}": v for k, v in fitted.model.state_dict().items()},
        "epoch": 1,
        "hyper_parameters": {"optimizer": torch.optim.AdamW},
    }
    torch.save(content, place.folder / "paper.ckpt")
    return place


def config(place, **changes):
    entry = {
        "name": "linear_published",
        "model": "linear",
        "loss": "hce",
        "seed": 0,
        "path": "paper.ckpt",
        "sha256": sha256_of(place.folder / "paper.ckpt"),
    }
    return {
        "models": {"mlp": MLP},
        "fits": {"models": ["linear", "mlp"], "losses": ["ce", "hce"], "seeds": [0]},
        "published": [entry | changes],
    }


@pytest.fixture(scope="module")
def scored(place):
    tables = [f"results/demo/tables/{name}.tsv" for name in ("overall", "models")]
    done = place.snakemake(*tables, config=config(place))
    assert done.returncode == 0, done.stderr[-5000:]
    return place.folder


def test_a_published_checkpoint_is_scored_as_the_fit_that_it_was_made_of(scored):
    overall = read_tsv(scored / "results/demo/tables/overall.tsv")
    columns = ["set", "decoder", "score", "value"]
    of = {name: rows[columns].reset_index(drop=True) for name, rows in overall.groupby("model")}
    own = overall.query("model == 'linear' and loss == 'hce'")[columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(of["linear_published"], own)


def test_the_table_of_models_has_fits_and_published_checkpoints(scored):
    table = read_tsv(scored / "results/demo/tables/models.tsv").set_index("model")
    assert table["origin"].to_dict() == {
        "linear": "trained",
        "mlp": "trained",
        "linear_published": "published",
    }
    assert table.loc["linear_published", "parameters"] == table.loc["linear", "parameters"]
    assert table["augmentation"].tolist() == ["no", "yes", "no"]
    assert table["lr"].isna().tolist() == [False, False, True]  # the checkpoint has none


def test_augmentation_vectors_are_made_once_and_reach_the_models_that_ask_for_them(scored):
    data = scored / "resources/atlas/demo"
    vectors = np.load(data / "augmentation/vectors.npy")
    report = dict(read_tsv(data / "augmentation/report.tsv").to_numpy())
    assert vectors.shape == (report["vectors"], 300)
    assert 0 < len(vectors) <= 500
    linear, mlp = (
        load_model(scored / f"results/demo/fits/{name}/ce/0/model.pt").provenance["model"]
        for name in ("linear", "mlp")
    )
    assert (linear["augmentation"], mlp["augmentation"]) == (False, True)


def test_a_checkpoint_of_another_checksum_is_refused(place, scored):
    done = place.snakemake(
        "results/demo/fits/linear_published/ce/1/model.pt",
        config=config(place, loss="ce", seed=1, sha256="0" * 64),
    )
    assert done.returncode != 0
    assert "published.sha256 in the config says 000" in done.stderr
    assert not (scored / "results/demo/fits/linear_published/ce/1/model.pt").exists()


def test_a_checkpoint_of_other_types_is_refused(place, scored):
    path = scored / "paper.ckpt"
    content = torch.load(path, weights_only=False)
    hierarchy = Hierarchy.load(scored / "resources/atlas/demo/ontology")
    for name in ("classifier.weight", "classifier.bias"):
        content["state_dict"][name] = content["state_dict"][name][1:]
    torch.save(content, scored / "other.ckpt")
    done = place.snakemake(
        "results/demo/fits/linear_published/ce/1/model.pt",
        config=config(place, loss="ce", seed=1, path="other.ckpt", sha256=None),
    )
    assert done.returncode != 0
    n = len(hierarchy)
    assert f"other.ckpt is a model of {n - 1} types, but the run has {n}" in done.stderr
