"""What is said of the models of a run is what their files hold."""

import numpy as np
import pandas as pd
import pytest
import torch

from hce.losses import build_loss
from hce.models import build_model
from hce.models.summary import COLUMNS, describe_layers, describe_models
from hce.models.trained_model import TrainedModel

GENES, TYPES = 50, 7
TRAINING = {
    "optimizer": {"lr": 0.002, "weight_decay": 0.05},
    "schedule": {"gamma": 0.9},
    "augmentation": True,
}


def trained(name: str, published: dict | None = None, **arguments: object) -> TrainedModel:
    provenance: dict = {"model": {"class": name, "arguments": arguments} | TRAINING}
    if published is not None:
        provenance["published"] = published
    reachability = np.eye(TYPES, dtype=bool)
    return TrainedModel(
        build_model(name, GENES, TYPES, **arguments),
        build_loss("ce", torch.from_numpy(reachability), torch.ones(TYPES)),
        pd.DataFrame({"feature_id": [f"G{i}" for i in range(GENES)]}),
        pd.DataFrame({"label": [f"type {i}" for i in range(TYPES)]}),
        reachability,
        provenance,
    )


def test_parameters_are_those_that_arithmetic_gives():
    table = describe_models(
        {
            "linear": trained("linear"),
            "mlp": trained("mlp", hidden_size=8, n_hidden=2),
            "tabnet": trained("tabnet", n_d=6, n_a=4, n_shared=2, n_independent=1, n_steps=2),
        }
    )
    assert list(table.columns) == COLUMNS
    mlp = (GENES + 1) * 8 + (8 + 1) * 8 + 2 * 2 * 8 + (8 + 1) * TYPES
    # Gated layers are twice as wide as what they give (10), and have a batch norm each.
    shared = GENES * 20 + 10 * 20
    own = 3 * (10 * 20 + 3 * 2 * 20)
    masks = 2 * (4 * GENES + 2 * GENES)
    tabnet = 2 * GENES + shared + own + masks + 6 * TYPES
    assert table["parameters"].tolist() == [(GENES + 1) * TYPES, mlp, tabnet]
    assert set(table["genes"]) == {GENES}
    assert set(table["types"]) == {TYPES}


def test_training_is_the_catalogues_for_fits_and_the_checkpoints_own_else():
    recorded = {"learning_rate": 0.005, "lr_scheduler_kwargs": {"gamma": 0.8}}
    published = {"hyper_parameters": recorded, "augmentation": False}
    table = describe_models({"own": trained("linear"), "paper": trained("linear", published)})
    columns = ["model", "origin", "lr", "lr_factor", "weight_decay", "augmentation"]
    own, paper = table[columns].to_numpy().tolist()
    assert own == ["own", "trained", 0.002, 0.9, 0.05, "yes"]
    assert paper[:4] == ["paper", "published", 0.005, 0.8]
    assert np.isnan(paper[4])
    assert paper[5] == "no"


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("linear", {}, "affine layer"),
        (
            "mlp",
            {"n_hidden": 1, "dropout": 0},
            "hidden layer (width 128, batch norm, SiLU, dropout 0) → affine layer",
        ),
        ("mlp", {"n_hidden": 0}, "affine layer"),
        (
            "tabnet",
            {"n_independent": 0, "n_steps": 3},
            "gated layers (3 shared, width 128 + 64) → "
            "3 × mask of genes (1.5-entmax, then gated layers) → linear layer",
        ),
        ("some.package:Net", {"depth": 3}, "Net (some.package)"),
    ],
)
def test_layers_are_said_in_words(name, arguments, expected):
    assert describe_layers(name, GENES, TYPES, arguments) == expected
