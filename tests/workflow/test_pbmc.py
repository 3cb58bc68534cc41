"""The whole workflow on three real PBMC studies."""

import pytest

from hce.files import read_tsv

pytestmark = pytest.mark.workflow


def test_real_studies_go_from_h5ad_to_figures_and_hce_gains_on_the_new_one(finished_pbmc):
    results = finished_pbmc.folder / "results/pbmc"
    overall = read_tsv(results / "tables/overall.tsv")
    ood = overall.query("set == 'ood' and decoder == 'argmax' and score == 'credited_macro_f1'")
    score = ood.set_index("loss")["value"]
    assert score["hce"] > score["ce"] > 0.4
    assert (results / "figures/figure_2.png").is_file()
    summary = (results / "summary.md").read_text()
    assert "one seed" in summary
    assert "imulated" not in summary
