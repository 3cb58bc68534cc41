"""A fit on cells of several studies: what its batches carry, and what its model has learned."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from hce.errors import UserError
from hce.files import read_tsv
from hce.models.trained_model import load_model
from hce.ontology import Hierarchy
from hce.ontology.targets import Targets
from hce.ontology.vocabularies import count_kept, make_table
from hce.store.cell_store import write_store
from hce.store.shards import write_shard
from hce.training import fit as fit_module
from hce.training.fit import FitSpec, fit_model

UPPER, FINER = "CL:0000084", "CL:0000624"  # T cell, and CD4 T cell below it
N_GENES = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory, slim, make_counts):
    """Cells that do not show their type; study 0 labels both types, study 1 the upper one."""
    path = tmp_path_factory.mktemp("by_study")
    hierarchy = Hierarchy.build({term: slim.names[term] for term in (UPPER, FINER)}, slim)
    hierarchy.save(path)
    hierarchy.types.assign(class_weight=1.0).to_parquet(path / "types.parquet")
    genes = pd.DataFrame({"feature_id": [f"E{i}" for i in range(N_GENES)], "feature_name": "g"})
    upper, finer = (hierarchy.types["cl_id"].tolist().index(term) for term in (UPPER, FINER))
    tables = {}
    for name, n in (("train", 160), ("val", 40)):
        ids = np.arange(n, dtype=np.int64)
        study = np.where(ids % 4 < 3, "both", "coarse")
        label = np.where((study == "both") & (ids % 4 == 0), finer, upper).astype(np.int16)
        tables[name] = pd.DataFrame({"soma_joinid": ids, "study": study, "label": label})
        write_shard(path / f"{name}.arrow", [(ids, make_counts(n, N_GENES, seed=n))])
        provenance = {"release": "2023"}
        write_store(path / name, [path / f"{name}.arrow"], tables[name], genes, provenance)
    counts = count_kept(tables["train"], hierarchy.types)
    vocabularies = make_table(counts, slim, "2023")
    Targets.build(vocabularies, hierarchy, slim).save(path / "targets.npz")
    return path


def run(folder, out, loss: str, **changes) -> pd.DataFrame:
    """Fits; gives the history."""
    linear = {"class": "linear", "arguments": {}, "schedule": {"gamma": 1.0}}
    training = {"batch_size": 16, "max_epochs": 6, "patience": 9, "max_gradient_norm": 1.0}
    spec = FitSpec(
        **{
            "train_store": folder / "train",
            "val_store": folder / "val",
            "hierarchy_folder": folder,
            "types_table": folder / "types.parquet",
            "model": linear | {"optimizer": {"lr": 0.05, "weight_decay": 0.0}},
            "loss": {"class": loss, "arguments": {}},
            "training": training
            | {"precision": "fp32", "select_by": "credited", "absent_types": "zero"},
            "seed": 0,
            "model_path": out / "model.pt",
            "history_path": out / "history.tsv",
            "targets": [folder / "targets.npz"],
        }
        | changes
    )
    fit_model(spec, torch.device("cpu"))
    return read_tsv(out / "history.tsv")


def test_a_loss_by_study_learns_what_hce_does_not_from_cells_that_a_study_labels_apart(
    folder, tmp_path
):
    found = {}
    for loss in ("hce", "hce_study"):
        history = run(folder, tmp_path / loss, loss)
        found[loss] = history.iloc[-1]
        model = load_model(tmp_path / loss / "model.pt")
        p = model.probabilities(torch.zeros(1, N_GENES))[0]
        finer = model.types["cl_id"].tolist().index(FINER)
        # HCE calls everything the finer type, by which it loses nothing.
        assert (p[finer] > 0.5) == (loss == "hce")
    assert found["hce"]["val_study_aware_macro_f1"] < found["hce"]["val_credited_macro_f1"] - 0.2
    assert found["hce_study"]["val_exact_macro_f1"] > found["hce"]["val_exact_macro_f1"]
    for row in found.values():
        kinds = [row[f"val_{kind}_macro_f1"] for kind in ("exact", "study_aware", "credited")]
        assert kinds == sorted(kinds)


def test_training_batches_carry_targets_only_where_the_loss_asks_for_them(
    folder, tmp_path, monkeypatch
):
    carried = {}
    open_batches = fit_module.open_batches

    def watching(*arguments):
        batches = open_batches(*arguments)
        carried[len(batches)] = set(batches.labels.tolist())
        return batches

    monkeypatch.setattr(fit_module, "open_batches", watching)
    for loss, numbers in (("ce", {0, 1}), ("hce_study", {0, 1, 2})):
        run(folder, tmp_path / loss, loss)
        assert carried[160] == numbers
        assert carried[40] == {0, 1, 2}


def test_without_targets_the_study_aware_score_is_the_credited_one(folder, tmp_path):
    history = run(folder, tmp_path, "ce", targets=())
    assert history["val_study_aware_macro_f1"].equals(history["val_credited_macro_f1"])


def test_a_store_of_another_release_than_the_vocabularies_is_refused(folder, tmp_path):
    targets = Targets.load(folder / "targets.npz")
    renamed = [("2024", study) for _, study in targets.studies]
    replace(targets, studies=renamed).save(tmp_path / "targets.npz")
    with pytest.raises(UserError, match="vocabularies of release 2023 have no cells of study"):
        run(folder, tmp_path, "ce", targets=[tmp_path / "targets.npz"])
