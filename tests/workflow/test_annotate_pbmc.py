"""Models of a real run annotate a user's file as the pipeline predicts."""

import anndata as ad
import numpy as np
import pytest

from hce.annotate import annotate, load_annotator
from hce.files import read_tsv
from hce.metrics import confusion, credit, macro_f1

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def results(finished_pbmc):
    return finished_pbmc.folder / "results/pbmc"


@pytest.mark.parametrize("loss", ["ce", "hce"])
def test_annotation_scores_what_the_pipeline_scores_to_the_last_digit(
    loss, results, real_data, repository
):
    cells = ad.read_h5ad(real_data / "pbmc/pbmc4k.h5ad")
    model = load_annotator(results / f"models/linear_{loss}_0.hce")
    annotate(cells, model, probability=None)
    mapping = read_tsv(repository / "resources/pbmc/cell_types.tsv")
    mapping = mapping[mapping["study"] == "pbmc4k"].set_index("author_cell_type")
    numbers = {cl_id: i for i, cl_id in enumerate(model.trained.types["cl_id"])}
    labels = cells.obs["author_cell_type"].astype(str).map(mapping["cell_type_ontology_term_id"])
    known = labels.isin(numbers).to_numpy()
    label = labels[known].map(numbers).to_numpy().astype(int)
    found = cells.obs["hce_cell_type_ontology_term_id"][known].astype(str).map(numbers)
    counts = confusion(label, found.to_numpy().astype(int), len(numbers))
    score = float(macro_f1(credit(counts, model.trained.reachability))[0])
    overall = read_tsv(results / "tables/overall.tsv")
    row = overall[
        (overall["loss"] == loss)
        & (overall["set"] == "ood")
        & (overall["decoder"] == "argmax")
        & (overall["score"] == "credited_macro_f1")
    ]
    assert known.sum() > 1500
    assert f"{score:.9g}" == f"{row['value'].item():.9g}"


def test_calibrated_precision_is_reached_on_held_out_cells_of_the_same_studies(results):
    calibrated = read_tsv(results / "tables/calibrated_precision.tsv")
    held_out = calibrated[(calibrated["set"] == "id") & calibrated["threshold"].notna()]
    assert (held_out["asked"] == 0.9).any()
    decided = held_out["cells"] * held_out["coverage"]
    error = np.sqrt(held_out["asked"] * (1 - held_out["asked"]) / decided)
    assert (held_out["right"] > held_out["asked"] - 2.5 * error).all()


def test_files_of_the_manifest_are_annotated(results):
    found = ad.read_h5ad(results / "annotated/mine.h5ad")
    assert found.uns["hce"]["probability"] == 0.85
    of_cluster = found.obs.groupby("author_cell_type", observed=True)["hce_vote_cell_type"]
    assert (of_cluster.nunique() == 1).all()
    b_cells = found.obs["hce_vote_cell_type"][found.obs["author_cell_type"] == "B"]
    assert set(b_cells) == {"B cell"}
