"""Model files of published checkpoints, made without cells, from small files alone."""

import os
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import yaml

from hce.annotate.annotator import load_annotator
from hce.cli import main
from hce.files import read_tsv, sha256_of
from hce.models import build_model
from hce.sources.soma import HUMAN, Study, write_census
from local_server import files_of, serving

N_GENES, N_CELLS = 60, 1200
GENES = pd.DataFrame(
    {
        "feature_id": [f"ENSG{i:011d}" for i in range(N_GENES)],
        "feature_name": [f"GENE{i}" for i in range(N_GENES)],
        "feature_length": 1000,
    }
)


def write_release(path):
    """A release of one cell: only its genes are read."""
    obs = pd.DataFrame(
        {"cell_type": ["T cell"], "cell_type_ontology_term_id": "CL:0000084", "donor_id": "d"}
    )
    counts = sp.csr_matrix(np.ones((1, N_GENES), np.float32))
    write_census(path, "2023-05-15", [Study("a", "A", "c", "C", "", obs, counts)], {HUMAN: GENES})
    return path


def write_checkpoint(path, hierarchy):
    torch.manual_seed(0)
    model = build_model("linear", N_GENES, len(hierarchy))
    state = {f"classifier.{name}": value for name, value in model.state_dict().items()}
    torch.save({"epoch": 1, "state_dict": state, "hyper_parameters": {"gene_dim": N_GENES}}, path)


def write_results(path, hierarchy, studies):
    """Predictions of which nine in ten are right and all are certain."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, len(hierarchy), N_CELLS)
    wrong = rng.random(N_CELLS) < 0.1
    answer = np.where(wrong, rng.integers(0, len(hierarchy), N_CELLS), label)
    p = np.full((N_CELLS, len(hierarchy)), 1e-4, np.float32)
    p[np.arange(N_CELLS), answer] = 1 - p[0, 1:].sum()
    names = np.array(hierarchy.labels)
    table = pd.DataFrame(
        {
            "y_true": names[label],
            "y_pred": names[answer],
            "dataset_id": [f"s{i % studies}" for i in range(N_CELLS)],
            "y_probs": list(p),
        }
    )
    table.to_parquet(path)


@pytest.fixture(scope="module")
def made(repository, hierarchy, tmp_path_factory):
    """The model files of two checkpoints: of one, predictions are published."""
    folder = tmp_path_factory.mktemp("published")
    write_release(folder / "soma")
    (folder / "served").mkdir()
    write_checkpoint(folder / "served/linear.ckpt", hierarchy)
    write_results(folder / "results.parquet", hierarchy, studies=8)
    (folder / "genes.tsv").write_text("feature_name\n" + "\n".join(GENES["feature_name"]) + "\n")
    with serving(files_of(folder / "served")) as address:
        entry = {"name": "linear_published", "model": "linear", "licence": "CC-BY-4.0"}
        config = {
            "data": {
                "reference": {"release": "2023-05-15", "uri": str(folder / "soma")},
                "genes": "genes.tsv",
                "genes_sha256": None,
            },
            "ontology": {"file": "resources/ontology/cl-slim.obo"},
            "published": [
                {**entry, "loss": "hce", "url": f"{address}/linear.ckpt"},
                {**entry, "loss": "ce", "path": "served/linear.ckpt"},
                {
                    **{"name": "authors", "holds": "results", "model": "linear", "loss": "hce"},
                    "path": "results.parquet",
                },
            ],
        }
        (folder / "local.yaml").write_text(yaml.safe_dump(config))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "snakemake", "--snakefile", repository / "Snakefile"),
                *("--cores", "2", "--configfile", repository / "config/published.yaml"),
                "local.yaml",
            ],
            cwd=folder,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    return folder / "results/published/models"


def test_nothing_but_model_files_cards_and_their_list_is_made(made):
    names = ["linear_published_ce_0", "linear_published_hce_0"]
    files = sorted(file.name for file in made.iterdir() if not file.name.startswith("."))
    assert files == sorted([f"{n}.{end}" for n in names for end in ("hce", "md")] + ["models.tsv"])
    assert not (made.parents[2] / "resources/atlas/published/census").exists()
    listed = read_tsv(made / "models.tsv")
    assert sorted(listed["name"]) == names
    assert all(sha256_of(made / url) == sha256 for url, sha256 in listed[["url", "sha256"]].values)


def test_it_is_calibrated_where_predictions_are_published_and_else_plainly_not(made):
    annotator = load_annotator(made / "linear_published_hce_0.hce")
    row = annotator.calibrated(0.85)
    assert (row["basis"], row["units"]) == ("new studies", 8)
    new = annotator.reliability[annotator.reliability["set"] == "new"]
    assert new["right"].between(0.85, 1).all()
    scores = annotator.scores.set_index("score")["value"]
    assert scores["exact_accuracy"] == pytest.approx(0.9, abs=0.03)
    card = (made / "linear_published_hce_0.md").read_text()
    assert "Calibrated on 8 new studies" in card
    assert "CC-BY-4.0" in card
    plain = load_annotator(made / "linear_published_ce_0.hce")
    assert plain.calibrated_precision.empty
    card = (made / "linear_published_ce_0.md").read_text()
    assert "no threshold of the back-off is known" in card
    assert "None are known." in card


def test_a_model_is_fetched_from_its_list_and_annotates_by_name(made, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    counts = np.random.default_rng(0).poisson(1.0, (20, N_GENES)).astype(np.float32)
    cells = ad.AnnData(sp.csr_matrix(counts), var=GENES.set_index("feature_id"))
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with serving(files_of(made)) as address:
        index = f"{address}/models.tsv"
        assert main(["models", "--get", "linear_published_hce_0", "--index", index]) == 0
    arguments = [str(tmp_path / "cells.h5ad"), "--out", str(tmp_path / "types.tsv")]
    named = ["--model", "linear_published_hce_0", "--probability", "0.85"]
    assert main(["annotate", *arguments, *named]) == 0
    assert len(read_tsv(tmp_path / "types.tsv")) == 20
    assert os.listdir(tmp_path / "cache/hce/models")
