"""Models of a real run annotate a user's file as the pipeline predicts."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from sklearn.cluster import KMeans

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


def test_a_model_calibrated_for_a_panel_is_right_where_the_other_is_not(
    results, real_data, repository
):
    cells = ad.read_h5ad(real_data / "pbmc/pbmc4k.h5ad")
    panel = (results.parents[1] / "panel.txt").read_text().split()
    cells = cells[:, cells.var["feature_name"].isin(panel)].copy()
    mapping = read_tsv(repository / "resources/pbmc/cell_types.tsv").query("study == 'pbmc4k'")
    ids = dict(mapping[["author_cell_type", "cell_type_ontology_term_id"]].to_numpy())
    right = {}
    for name in ("best", "best_variable"):
        model = load_annotator(results / f"models/{name}.hce")
        annotate(cells, model, probability=0.9, panel=name == "best", overwrite=True)
        number = {cl_id: i for i, cl_id in enumerate(model.answers.table["cl_id"])}
        label = cells.obs["author_cell_type"].astype(str).map(ids).map(number)
        answer = cells.obs["hce_back_off_cell_type_ontology_term_id"].astype(str).map(number)
        both = label.notna() & answer.notna()
        label, answer = label[both].astype(int), answer[both].astype(int)
        reached = model.answers.reachability[answer, label]
        right[name] = reached.sum() / (reached | ~model.answers.reachability[label, answer]).sum()
    assert right["best_variable"] > 0.8
    assert right["best"] < 0.5


def test_new_studies_of_known_types_are_not_novel(results):
    shares = read_tsv(results / "tables/novelty.tsv")
    new = shares[shares["set"].str.startswith("ood")]
    assert set(new["study"]) == {"pbmc4k", "kang2018"}
    assert (new["novel"] < 0.08).all()


def test_monocytes_of_no_type_are_judged_in_a_table_of_their_own(results):
    table = read_tsv(results / "tables/open_labels.tsv")
    assert set(table["label"]) == {"monocyte"}  # the types are kinds of monocytes
    assert (table["cells"] == 597).all()
    assert (table["set"] == "ood").all()
    assert (table["reference_cells"] == 0).all()
    assert (table[["right", "wrong", "undecided", "unanswered"]].sum(axis=1) == 597).all()
    assert (table["undecided"] > 300).all()


# Of lineages, not of the types of the model: any of these is evidence against another.
LINEAGES = {
    "T cell": ("CD3D", "CD3E", "IL7R"),
    "natural killer cell": ("GNLY", "NKG7", "KLRF1"),
    "B cell": ("MS4A1", "CD79A", "CD79B"),
    "monocyte": ("LYZ", "S100A9", "CST3"),
    "hematopoietic stem cell": ("CD34", "SPINK2", "PRSS57"),
}


def lineage_scores(cells):
    """Cluster of each cell, by its expression alone, and the means of the lineages' markers."""
    own = cells.copy()
    sc.pp.normalize_total(own, target_sum=1e4)
    sc.pp.log1p(own)
    names = own.var["feature_name"].astype(str).to_numpy()
    scores = {
        lineage: own.X[:, np.flatnonzero(np.isin(names, genes))].mean(axis=1).A1
        for lineage, genes in LINEAGES.items()
    }
    sc.pp.highly_variable_genes(own, n_top_genes=2000)
    sc.pp.pca(own, n_comps=30)
    clusters = KMeans(12, random_state=0, n_init=3).fit_predict(own.obsm["X_pca"])
    return clusters.astype(str), pd.DataFrame(scores)


@pytest.mark.parametrize("study", ["pbmc4k", "kang2018"])
@pytest.mark.parametrize("loss", ["ce", "hce"])
def test_no_vote_of_a_cluster_is_contradicted_by_the_markers_of_its_lineage(
    study, loss, results, real_data
):
    cells = ad.read_h5ad(real_data / f"pbmc/{study}.h5ad")
    clusters, scores = lineage_scores(cells)
    cells.obs["cluster"] = pd.Categorical(clusters)
    annotate(cells, results / f"models/linear_{loss}_0.hce", vote="cluster")
    checked = 0
    for cluster in np.unique(clusters):
        member = clusters == cluster
        vote = str(cells.obs["hce_vote_back_off_cell_type"][member].iloc[0])
        for lineage in LINEAGES:
            if lineage in vote and member.mean() > 0.01:
                checked += 1
                assert scores[lineage][member].mean() > scores[lineage][~member].mean(), vote
    assert checked >= 6
