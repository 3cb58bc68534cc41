"""The script of the rule predict, on a small store."""

import runpy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from fake_job import Files, fake_job
from hce.models import build_model
from hce.models.trained_model import save_model
from hce.ontology import Hierarchy
from hce.store.cell_store import CellStore


@pytest.fixture
def predict_job(fit_folder, tmp_path) -> SimpleNamespace:
    """The job that predicts the validation cells, of a run that trains in TF32."""
    genes = CellStore.open(fit_folder / "val").genes
    hierarchy = Hierarchy.load(fit_folder)
    torch.manual_seed(0)
    model = build_model("linear", len(genes), len(hierarchy))
    spec, loss = ({"class": name, "arguments": {}} for name in ("linear", "hce"))
    save_model(tmp_path / "model.pt", spec, loss, model.state_dict(), genes, hierarchy, {})
    return fake_job(
        "predict",
        tmp_path / "log",
        input=Files(
            model=str(tmp_path / "model.pt"),
            types=str(fit_folder / "types.parquet"),
            stores=[str(fit_folder / "val")],
        ),
        output=[str(tmp_path / "val.parquet")],
        params=SimpleNamespace(decoders=["argmax", "ancestor_sum"], batch_size=16),
        config={"training": {"device": "cpu", "precision": "tf32"}, "models": {}, "losses": {}},
    )


@pytest.fixture
def precision():
    """Leaves torch as it was."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # TF32, as after training
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("precision")
def test_predictions_are_made_in_fp32_also_where_training_is_in_tf32(predict_job, repository):
    script = str(repository / "scripts" / "predict_cells.py")
    runpy.run_path(script, init_globals={"snakemake": predict_job})
    assert torch.get_float32_matmul_precision() == "highest"
    table = pd.read_parquet(predict_job.output[0])
    assert len(table) == 40
    assert {"prediction_argmax", "prediction_ancestor_sum"} <= set(table)
    assert np.isfinite(table["probability_argmax"]).all()
