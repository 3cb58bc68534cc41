"""A small annotator and cells for it."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
import torch

from hce.annotate.annotator import Annotator, save_annotator
from hce.losses import build_loss
from hce.models import build_model
from hce.models.trained_model import TrainedModel

LABELS = ["lymphocyte", "T cell", "CD4 T cell", "monocyte"]
IDS = ["CL:0000542", "CL:0000084", "CL:0000624", "CL:0000576"]
R = np.array([[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=bool)
N_GENES = 40
GENES = pd.DataFrame(
    {
        "feature_id": [f"ENSG{i:011d}" for i in range(N_GENES)],
        "feature_name": [f"GENE{i}A" for i in range(N_GENES)],
    }
)
SPEC = {"class": "linear", "arguments": {}}


def make_annotator(threshold: float = 0.8, model: dict | None = None) -> Annotator:
    """A linear model: ten genes of its own speak for each type."""
    module = build_model("linear", N_GENES, len(LABELS))
    weights = np.kron(np.eye(len(LABELS)), np.ones((1, 10))) * 0.2
    module.load_state_dict(
        {"weight": torch.tensor(weights, dtype=torch.float32), "bias": torch.zeros(len(LABELS))}
    )
    loss = build_loss("hce", torch.from_numpy(R), torch.ones(len(LABELS)))
    types = pd.DataFrame({"cl_id": IDS, "label": LABELS})
    provenance = {"model": model or SPEC, "loss": {"class": "hce", "arguments": {}}, "seed": 0}
    calibrated = pd.DataFrame(
        {
            "asked": [0.5, 0.9, 0.99],
            "threshold": [0.3, threshold, np.nan],
            "basis": "new studies",
            "units": 8,
            "lower": [0.6, 0.91, np.nan],
        }
    )
    reliability = pd.DataFrame(
        [(0.5, "val", 0.8, 1.0), (0.9, "val", 0.95, 0.9), (0.9, "new", 0.93, 0.9)],
        columns=["asked", "set", "right", "coverage"],
    ).assign(cells=900, studies=8, undecided=0.1, depth=12.0)
    scores = pd.DataFrame(
        [("id", "argmax", "credited_macro_f1", 0.75)],
        columns=["set", "decoder", "score", "value"],
    )
    trained = TrainedModel(module.eval(), loss, GENES, types, R, provenance)
    return Annotator(trained, calibrated, scores, reliability=reliability)


def profiles() -> np.ndarray:
    """Log shares in which ten genes of its own mark each type, as in `make_cells`."""
    shares = np.full((len(LABELS), N_GENES), 0.5)
    for number in range(len(LABELS)):
        shares[number, 10 * number : 10 * number + 10] = 6.5
    shares[0, 20:30] = 4.0  # a lymphocyte may be a CD4 T cell
    return np.log(shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def make_cells(n: int = 30, seed: int = 0) -> ad.AnnData:
    """Raw counts in which cell i is of type i modulo the number of types."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.5, (n, N_GENES)).astype(np.float32)
    for cell in range(n):
        first = 10 * (cell % len(LABELS))
        counts[cell, first : first + 10] += rng.poisson(6, 10)
    cells = ad.AnnData(
        sp.csr_matrix(counts),
        obs=pd.DataFrame(
            {"cluster": pd.Categorical([f"k{i % 4}" for i in range(n)]), "age": np.arange(n)},
            index=[f"cell{i}" for i in range(n)],
        ),
        var=GENES.set_index("feature_id"),
    )
    cells.obsm["X_umap"] = rng.normal(size=(n, 2))
    cells.uns["title"] = "mine"
    return cells


def truth(cells: ad.AnnData) -> np.ndarray:
    """Probabilities by scanpy's normalisation and a formula in float64."""
    copy = ad.AnnData(cells.X.astype(np.float64), var=cells.var)
    sc.pp.normalize_total(copy, target_sum=1e4)
    sc.pp.log1p(copy)
    logits = copy.X @ np.kron(np.eye(len(LABELS)), np.full((10, 1), 0.2))
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


@pytest.fixture
def annotator() -> Annotator:
    return make_annotator()


@pytest.fixture
def model_path(tmp_path, annotator):
    save_annotator(tmp_path / "model.hce", annotator)
    return tmp_path / "model.hce"


@pytest.fixture
def source(cells, tmp_path):
    """A file of the cells."""
    cells.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


@pytest.fixture
def cells() -> ad.AnnData:
    return make_cells()
