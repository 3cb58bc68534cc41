"""Genes for and against a type are those by which the linear model tells it apart."""

import numpy as np
import pandas as pd
import pytest
import torch

from hce.models import build_model
from hce.models.gene_weights import COLUMNS, NAMED, type_genes
from hce.models.trained_model import TrainedModel

GENES, TYPES = 30, 4


def trained(name="linear", seed=0, arguments=None):
    torch.manual_seed(seed)
    model = build_model(name, GENES, TYPES, **(arguments or {}))
    genes = pd.DataFrame(
        {"feature_id": range(GENES), "feature_name": [f"G{i}" for i in range(GENES)]}
    )
    types = pd.DataFrame({"cl_id": [f"CL:{i}" for i in range(TYPES)], "label": list("abcd")})
    return TrainedModel(model, None, genes, types, np.eye(TYPES, dtype=bool), {})


def test_a_named_gene_raises_its_type_more_than_any_that_is_not_named():
    fit = trained()
    table = type_genes({("linear", "ce"): [fit]})
    assert table.columns.tolist() == COLUMNS
    logits = fit.model(torch.eye(GENES)) - fit.model.bias
    effect = (logits - logits.mean(dim=1, keepdim=True)).T.detach().numpy()
    for (index, direction), part in table.groupby(["index", "direction"]):
        expected = np.sort(effect[index])[::-1] if direction == "for" else np.sort(effect[index])
        assert part["weight"].tolist() == pytest.approx(expected[:NAMED].tolist(), abs=1e-6)
        assert part["rank"].tolist() == list(range(1, NAMED + 1))
        first = int(part["gene"].iloc[0][1:])
        assert effect[index, first] == pytest.approx(part["weight"].iloc[0], abs=1e-6)


def test_adding_the_same_to_all_types_changes_nothing():
    fit = trained()
    before = type_genes({("linear", "ce"): [fit]})
    with torch.no_grad():
        fit.model.weight += torch.randn(GENES)
    after = type_genes({("linear", "ce"): [fit]})
    assert (before["gene"] == after["gene"]).all()


def test_weights_are_means_over_seeds():
    fits = [trained(seed=seed) for seed in range(3)]
    one = type_genes({("linear", "ce"): fits}).iloc[0]
    gene = int(one["gene"][1:])
    weights = [f.model.weight.detach().numpy() for f in fits]
    expected = np.mean([w[0, gene] - w[:, gene].mean() for w in weights])
    assert one["weight"] == pytest.approx(expected, abs=1e-6)


def test_other_models_are_left_out():
    table = type_genes({("mlp", "ce"): [trained("mlp", arguments={"n_hidden": 1})]})
    assert table.columns.tolist() == COLUMNS
    assert table.empty
