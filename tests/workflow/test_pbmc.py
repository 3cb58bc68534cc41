"""The whole workflow on four real PBMC studies."""

import pandas as pd
import pytest
import yaml

from hce.files import read_tsv

pytestmark = pytest.mark.workflow


def test_real_studies_go_from_h5ad_to_figures_and_hce_gains_on_the_new_one(finished_pbmc):
    results = finished_pbmc.folder / "results/pbmc"
    overall = read_tsv(results / "tables/overall.tsv")
    credited = overall.query("decoder == 'argmax' and score == 'credited_macro_f1'")
    score = credited.set_index(["set", "loss"])["value"]
    assert score["ood", "hce"] > score["ood", "ce"] > 0.4
    assert score["ood_2024-07-01", "ce"] > 0.4
    assert (results / "figures/figure_2.png").is_file()
    summary = (results / "summary.md").read_text()
    assert "one seed" in summary
    assert "imulated" not in summary


def test_each_new_study_is_a_set_of_its_own_and_what_it_lacks_is_reported(finished_pbmc):
    data = finished_pbmc.folder / "resources/atlas/pbmc"
    totals = read_tsv(finished_pbmc.folder / "results/pbmc/tables/data_totals.tsv")
    assert totals.set_index("set").loc[["ood", "ood_2024-07-01"], "studies"].tolist() == [1, 1]
    report = read_tsv(data / "cells/report.tsv").set_index(["release", "quantity"])["value"]
    assert report["2023-05-15", "genes"] == 13_358
    assert report["2023-12-15", "genes of these that pbmc4k lacks"] == 287
    assert report["2024-07-01", "genes of these that kang2018 lacks"] == 690


@pytest.mark.parametrize("study", ["zheng2017", "kang2018"])
def test_any_study_can_be_the_new_one(finished_pbmc, repository, real_data, study):
    text = (repository / "config/leave_one_out.yaml").read_text().replace("kang2018", study)
    config = yaml.safe_load(text)
    config["data"]["h5ad"]["dir"] = str(real_data / "pbmc")
    target = f"resources/atlas/without_{study}/cells/2023-12-15.parquet"
    done = finished_pbmc.snakemake(target, config=config, base="pbmc")
    assert done.returncode == 0, done.stderr[-5000:]
    cells = pd.read_parquet(finished_pbmc.folder / target)
    assert cells["study"].unique().tolist() == [study]
