"""What the credited score pays for on a real study: CD14+ monocytes that are called CD16+.

Kang et al. 2018 label both, and the Cell Ontology has the second below the first.
"""

import anndata
import pandas as pd
import pytest

from hce.files import read_tsv

pytestmark = pytest.mark.workflow

SET = "ood_2024-07-01"
CD14, CD16 = "CD14-positive monocyte", "CD14-low, CD16-positive monocyte"
LOSSES = ["ce", "hce", "hce_study", "mix_study"]


@pytest.fixture(scope="module")
def place(finished_pbmc, tmp_path_factory):
    """The short run on real studies, with the losses that know the studies."""
    place = finished_pbmc.copy(tmp_path_factory.mktemp("monocytes") / "place")
    config = {"fits": {"losses": LOSSES}}
    done = place.snakemake("results/pbmc/tables/overall.tsv", config=config, base="pbmc")
    assert done.returncode == 0, done.stderr[-5000:]
    return place


@pytest.fixture(scope="module")
def monocytes(place, real_data):
    """Kang's cells labelled CD14+: whether a loss calls them CD16+, and counts of two markers."""
    types = pd.read_parquet(place.folder / "resources/atlas/pbmc/cells/types.parquet")
    number = dict(zip(types["label"], types.index, strict=True))
    kang = anndata.read_h5ad(real_data / "pbmc/kang2018.h5ad")
    names = kang.var["feature_name"].astype(str).to_numpy()
    called = {}
    for loss in LOSSES:
        path = place.folder / f"results/pbmc/predictions/linear/{loss}/0/{SET}.parquet"
        cells = pd.read_parquet(path).sort_values("soma_joinid", ignore_index=True)
        called[loss] = (cells["prediction_argmax"] == number[CD16]).to_numpy()
    table = pd.DataFrame(called)
    for gene in ("S100A8", "FCGR3A"):
        table[gene] = kang.X[:, names == gene].sum(axis=1)
    labelled = (cells["label"] == number[CD14]).to_numpy()
    # The cells are in the order of the file.
    assert (kang.obs["author_cell_type"].to_numpy() == "CD14+ Monocytes").tolist() == [*labelled]
    return table[labelled]


def test_hce_calls_them_cd16_and_a_loss_that_knows_the_study_does_not(monocytes):
    assert len(monocytes) == 2155
    assert monocytes["hce"].sum() > 1900
    assert monocytes["mix_study"].sum() < 250
    assert monocytes["hce_study"].sum() < 250


def test_their_marker_genes_say_cd14(monocytes):
    wrong = monocytes[monocytes["hce"]]
    assert (wrong["S100A8"] > wrong["FCGR3A"]).mean() > 0.75
    assert (wrong["FCGR3A"] > wrong["S100A8"]).mean() < 0.1


def test_the_study_aware_score_sees_it_and_the_credited_one_does_not(place):
    overall = read_tsv(place.folder / "results/pbmc/tables/overall.tsv")
    rows = overall.query("set == @SET and decoder == 'argmax'")
    score = rows.set_index(["loss", "score"])["value"]
    credited, aware = (score[:, f"{kind}_macro_f1"] for kind in ("credited", "study_aware"))
    assert credited["hce"] > credited["ce"]
    assert aware["hce"] < aware["ce"] - 0.05
    for loss in ("hce_study", "mix_study"):
        assert aware[loss] > aware["hce"] + 0.12
        assert aware[loss] > aware["ce"] - 0.015
