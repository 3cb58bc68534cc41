"""The whole workflow on a small simulated atlas."""

import json

import numpy as np
import pandas as pd
import pytest

from hce.files import read_tsv
from hce.ontology.targets import Targets
from hce.report.glossary import meaning

pytestmark = pytest.mark.workflow

TABLES = {
    *("overall", "per_type", "per_stratum", "confusion", "calibration"),
    *("type_changes", "stratum_changes", "bootstrap", "factorial", "decomposition", "history"),
    *("controls", "coverage", "calibrated_precision", "calibrated_precision_types"),
    *("data_totals", "data_tissues", "data_types", "models", "subgraph", "truth"),
    *("type_genes", "model_choice", "reliability", "novelty", "open_labels"),
}


def test_one_command_makes_every_table_figure_and_report(finished):
    results = finished.folder / "results/demo"
    assert {p.stem for p in (results / "tables").glob("*.tsv")} == TABLES
    for name in ("figure_1", "figure_2", "figure_s1", "factorial", "leakage", "truth"):
        for form in ("pdf", "png", "svg"):
            assert (results / f"figures/{name}.{form}").stat().st_size > 5000
    summary = (results / "summary.md").read_text()
    assert "Simulated data" in summary
    report = (results / "report.html").read_text()
    assert "Simulated" in report
    assert "figure_1.png" in report
    assert "figure_2.png" in report
    assert "leakage.png" in report
    assert "Simulated data" in (results / "explorer.html").read_text()
    page = (results / "index.html").read_text()
    assert "Simulated data" in page
    for figure in (results / "figures").glob("*.svg"):
        assert f'href="figures/{figure.name}"' in page
    both = sum((results / name).stat().st_size for name in ("index.html", "explorer.html"))
    assert both < 3e6


def test_the_glossary_has_every_column_of_every_table(finished):
    for path in (finished.folder / "results/demo/tables").glob("*.tsv"):
        columns = path.read_text().split("\n", 1)[0].split("\t")
        assert [column for column in columns if meaning(path.stem, column) is None] == [], path.stem


def test_confusions_have_the_names_of_their_types(finished):
    tables = finished.folder / "results/demo/tables"
    names = read_tsv(tables / "data_types.tsv").set_index("index")["label"]
    confusion = read_tsv(tables / "confusion.tsv")
    for column in ("label", "prediction"):
        assert (confusion[f"{column}_name"] == confusion[column].map(names)).all()


def test_provenance_knows_every_rule_that_takes_time(finished):
    results = finished.folder / "results/demo"
    record = json.loads((results / "provenance.json").read_text())
    expected = {"fit", "predict", "score_fit", "build_store", "export_counts", "audit_leakage"}
    assert expected <= {job["rule"] for job in record["jobs"]}
    assert all(job["seconds"] > 0 and job["machine"] for job in record["jobs"])
    assert record["note"] == "Simulated data"
    fits = results / "fits"
    assert len(record["models"]) == len([*fits.rglob("model.pt")])
    assert record["config"]["run"] == "demo"
    assert "Simulated data" in (results / "provenance.md").read_text()


def test_scores_are_there_for_every_fit_and_set(finished):
    overall = read_tsv(finished.folder / "results/demo/tables/overall.tsv")
    found = overall.groupby(["loss", "seed", "set"]).size().index
    expected = pd.MultiIndex.from_product(
        [["ce", "hce"], [0, 1], ["id", "ood", "ood_clean", "val"]]
    )
    assert set(found) == set(expected)
    shares = overall[overall["score"] != "ontology_distance"]
    assert shares["value"].between(0, 1).all()


def test_every_fit_is_scored_by_the_truth(finished):
    truth = read_tsv(finished.folder / "results/demo/tables/truth.tsv")
    keys = ["model", "loss", "seed", "set", "decoder"]
    overall = read_tsv(finished.folder / "results/demo/tables/overall.tsv")
    scored = overall[~overall["set"].str.endswith("_clean")]
    assert set(truth.groupby(keys).size().index) == set(scored.groupby(keys).size().index)
    by_score = truth.pivot_table("value", ["loss", "decoder"], "score")
    assert by_score["truth_hierarchical_f1"].between(0.3, 1).all()
    # Backing off, an answer is less often wrong and less deep.
    ce = by_score.loc["ce"]
    assert ce.loc["back_off_0.6", "truth_wrong_share"] < ce.loc["argmax", "truth_wrong_share"]
    assert ce.loc["back_off_0.6", "truth_right_depth"] < ce.loc["argmax", "truth_right_depth"]


def test_seeds_and_decoders_are_what_the_config_says(finished):
    overall = read_tsv(finished.folder / "results/demo/tables/overall.tsv")
    ood = overall[(overall["set"] == "ood") & (overall["score"] == "credited_macro_f1")]
    table = ood.pivot_table(index=["loss", "seed"], columns="decoder", values="value")
    assert (table.loc[("ce", 0)] != table.loc[("ce", 1)]).all()
    # What the sum over ancestors is for: it credits more than the arg max of the same model.
    assert (table.loc["ce", "ancestor_sum"] > table.loc["ce", "argmax"]).all()


def test_the_placebo_is_trained_by_a_hierarchy_that_means_nothing_and_kept_apart(finished):
    tables = finished.folder / "results/demo/tables"
    controls = read_tsv(tables / "controls.tsv").query("control == 'placebo'")
    assert controls[["loss", "seed"]].drop_duplicates().to_numpy().tolist() == [["hce_placebo", 0]]
    overall = read_tsv(tables / "overall.tsv")
    assert "hce_placebo" not in set(overall["loss"])
    chosen = "set == 'ood' and decoder == 'argmax' and score == 'credited_macro_f1'"
    right = overall.query(chosen + " and loss == 'hce' and seed == 0")["value"].item()
    assert controls.query(chosen)["value"].item() < right


def test_studies_with_the_vocabularies_of_others_are_a_control_of_the_losses_that_know_them(
    finished,
):
    controls = read_tsv(finished.folder / "results/demo/tables/controls.tsv")
    permuted = controls.query("control == 'permuted_vocabularies'")
    assert set(permuted["loss"]) == {"hce_study_permuted"}
    folder = finished.folder / "results/demo/controls/permuted_vocabularies"
    targets = Targets.load(folder / "2023-05-15.npz")
    own = Targets.load(finished.folder / "resources/atlas/demo/cells/targets/2023-05-15.npz")
    np.testing.assert_array_equal(targets.labels, own.labels)
    assert (targets.answers != own.answers).any()


def test_losses_are_scored_at_the_best_epoch_of_the_other_one(finished):
    tables = finished.folder / "results/demo/tables"
    matched = read_tsv(tables / "controls.tsv").query("control == 'epoch_of_hce'")
    history = read_tsv(tables / "history.tsv").set_index(["loss", "seed", "epoch"])
    for seed in (0, 1):
        score = "val_credited_macro_f1"
        best = history.loc[("hce", seed), score].idxmax()
        assert history.loc[("hce", seed, best), "kept"]
        found = matched.query("seed == @seed and score == 'credited_macro_f1'")["value"]
        assert found.tolist() == [history.loc[("ce", seed, best), score]]


def test_significance_is_at_the_configs_alpha(finished):
    changes = read_tsv(finished.folder / "results/demo/tables/type_changes.tsv")
    tested = changes[changes["p_holm"].notna()]
    assert (tested["significant"] == (tested["p_holm"] <= 0.1)).all()
    half = (changes["ci_high"] - changes["ci_low"]) / 2
    # With two seeds, the 90 % interval is 6.314 standard errors either way.
    expected = 6.3138 * (changes["change"] / changes["t"]).abs()
    close = (half - expected).abs() < 1e-4 * expected.abs() + 1e-6
    assert close[changes["t"].abs() > 1e-3].all()


def test_the_audit_finds_the_planted_leakage(finished):
    audit = finished.folder / "resources/atlas/demo/audit"
    studies = read_tsv(audit / "studies.tsv").set_index("study")
    copy = studies.loc["simulated-copy-1"]
    assert copy["closest_study"] == "simulated-study-02"
    assert copy["duplicates"] > 0.8 * copy["cells"]
    assert studies.index[studies["known_collection"]].tolist() == ["simulated-new-study-01"]
    cells = pd.read_parquet(audit / "ood.parquet")
    assert set(cells["reason"]) == {"", "collection;donor", "redeposit", "duplicate;redeposit"}
    assert cells["leaky"].sum() == studies["leaky_cells"].sum()
    assert studies["leaky_cells"].gt(0).sum() == 2
    assert "## Leakage" in (finished.folder / "results/demo/summary.md").read_text()


def test_cells_whose_label_is_no_type_are_judged_and_in_no_set(finished):
    table = read_tsv(finished.folder / "results/demo/tables/open_labels.tsv")
    labels = {"hematopoietic cell", "muscle cell", "myeloid leukocyte"}
    assert set(table["label"]) == labels
    assert set(table["loss"]) == {"ce", "hce"}
    assert (table[["right", "wrong", "undecided", "unanswered"]].sum(axis=1) == 60).all()
    known = table.groupby("label")["reference_cells"].first() > 0
    assert known.index[known].tolist() == ["hematopoietic cell"]
    cells = pd.read_parquet(finished.folder / "resources/atlas/demo/cells/2023-12-15.parquet")
    assert "simulated-open-labels" not in set(cells["study"])


def test_nothing_left_over_stays_behind(finished):
    assert not list(finished.folder.rglob("*.partial*"))
    assert not list((finished.folder / "resources/atlas/demo/export").rglob("*.arrow"))
    assert not list(finished.folder.rglob("resume.pt"))


def test_logs_hold_no_traceback(finished):
    logs = list(finished.folder.rglob("logs/**/*.log"))
    assert len(logs) > 20
    assert not [log for log in logs if "Traceback" in log.read_text()]


def test_a_second_run_has_nothing_to_do(finished):
    assert finished.planned({}) == {}


def test_the_same_config_gives_the_same_scores_byte_for_byte(finished, new_workplace):
    """All tables: tests/slurm/test_slurm_demo.py, where a SLURM can be started."""
    other = new_workplace()
    fit = "results/demo/scores/linear/hce/1"
    paths = [f"{fit}/{name}.tsv" for name in ("overall", "per_type", "confusion", "calibration")]
    paths += ["results/demo/tables/data_totals.tsv", "resources/atlas/demo/audit/studies.tsv"]
    assert other.snakemake(*paths).returncode == 0
    for path in paths:
        assert (finished.folder / path).read_bytes() == (other.folder / path).read_bytes(), path


TABLES_ON = {
    *("gather_scores", "compare_losses", "bootstrap_changes", "divide_gain", "gather_controls"),
    "decompose_gain",
    *("plot_figure_1", "plot_figure_2", "plot_supplement", "plot_diagnostics", "plot_audit"),
    *("write_index", "write_summary", "make_explorer", "plot_truth"),
}
SCORES_ON = {"score_fit"} | TABLES_ON
SCORES_ON |= {"export_model", "choose_model", "gather_coverage", "plot_coverage"}
SCORES_ON |= {"score_open_labels"}
PREDICT_ON = {"predict", "score_truth", "gather_truth"} | SCORES_ON
FIT_ON = {"fit", "gather_history", "describe_models", "list_genes"} | PREDICT_ON
AUDIT = {"audit_reference", "audit_leakage", "gather_audit"}
STORE_ON = {"build_store", "share_genes", "export_counts", "describe_data", "finish_data"}
STORE_ON |= AUDIT | FIT_ON


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"statistics": {"alpha": 0.01}},
            {
                *("compare_losses", "bootstrap_changes", "decompose_gain", "make_explorer"),
                "plot_diagnostics",
                *("plot_figure_2", "plot_supplement", "write_index", "write_summary"),
            },
        ),
        (
            {"statistics": {"draws": 500}},
            {
                *("bootstrap_changes", "decompose_gain", "plot_supplement", "plot_diagnostics"),
                *("make_explorer", "write_index", "write_summary"),
            },
        ),
        (
            {"statistics": {"compared": "mix"}},
            {
                *("divide_gain", "gather_controls", "plot_diagnostics", "write_summary"),
                "decompose_gain",
                *("plot_figure_2", "plot_supplement", "plot_coverage", "write_index"),
            },
        ),
        (
            {"figures": {"subgraph": "CL:0000236"}},
            {"choose_subgraph", "plot_figure_2", "write_index"},
        ),
        ({"decoders": ["argmax"]}, PREDICT_ON),
        ({"training": {"patience": 5}}, FIT_ON),
        ({"models": {"linear": {"optimizer": {"lr": 0.01}}}}, FIT_ON),
        ({"training": {"threads": 2}}, set()),
        (
            {"audit": {"reasons": ["donor"]}},
            SCORES_ON | {"finish_data"} | AUDIT - {"audit_reference"},
        ),
        ({"losses": {"mine": {"class": "my.module:Loss"}}}, set()),
        (
            {"split": {"seed": 2}},
            {"split_reference", "report_curation"} | STORE_ON,
        ),
        (
            {"curation": {"min_donors": 4}},
            {
                *("select_types", "split_reference", "select_new_studies", "report_curation"),
                *("choose_subgraph", "make_control_reachability", "relate_vocabularies"),
                *("permute_vocabularies", "relate_terms", "build_open_store"),
            }
            | STORE_ON,
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_change_of_one_key_reruns_what_depends_on_it_and_nothing_else(finished, change, expected):
    assert set(finished.planned(change)) == expected | {"write_config", "write_provenance"}


def test_a_new_seed_trains_only_its_own_fits(finished):
    planned = finished.planned({"fits": {"seeds": [0, 1, 2]}})
    assert (planned["fit"], planned["predict"], planned["score_fit"]) == (2, 2, 2)
    assert "build_store" not in planned


def test_a_new_loss_trains_only_its_own_fits(finished):
    planned = finished.planned({"fits": {"losses": ["ce", "hce", "hce_log"]}})
    assert planned["fit"] == 2


class TestMistakes:
    """Each ends with one clear sentence, a non-zero exit, and nothing half-written."""

    def output(self, place, *arguments, **options):
        done = place.snakemake(*arguments, **options)
        assert done.returncode != 0
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    def left(self, place):
        """What the failed job wrote; the inputs' checksums are another job's, and whole."""
        data = place.folder / "resources/atlas"
        files = [path for path in data.rglob("*") if path.is_file() and path.suffix != ".log"]
        return [
            path for path in files if path.stem not in ("inputs", ".inputs.tsv", "checksum_inputs")
        ]

    def test_a_typo_in_the_config(self, new_workplace):
        output = self.output(new_workplace(), "--dry-run", config={"trainin": {}})
        assert "The config has no key 'trainin' (did you mean training?)" in output

    def test_an_argument_that_a_loss_does_not_take_is_told_before_anything_long(
        self, new_workplace
    ):
        place = new_workplace()
        wrong = {"losses": {"hce": {"arguments": {"smoothin": 0.1}}}}
        output = self.output(place, config=wrong)
        assert "Config key losses.hce does not work" in output
        assert "unexpected keyword argument 'smoothin'" in output
        assert not (place.folder / "resources/atlas").exists()
        assert not (place.folder / "results").exists()

    def test_an_ontology_that_is_truncated(self, new_workplace, repository):
        place = new_workplace()
        whole = (repository / "resources/ontology/cl-slim.obo").read_text()
        (place.folder / "cut").mkdir()
        (place.folder / "cut/cl.obo").write_text(whole[: len(whole) // 2])
        output = self.output(place, base="pbmc", config={"ontology": {"file": "cut/cl.obo"}})
        assert "Error in build_h5ad_census: Ontology file cut/cl.obo" in output
        assert self.left(place) == []

    def test_an_ontology_of_another_checksum(self, new_workplace):
        place = new_workplace()
        output = self.output(place, base="pbmc", config={"ontology": {"sha256": "0" * 64}})
        assert "ontology.sha256 in the config says 000" in output
        assert self.left(place) == []

    @pytest.mark.parametrize("content", ["study\tfile\nx", "a\tb".encode("utf-16")])
    def test_a_manifest_that_is_cut_off_or_of_another_encoding(self, new_workplace, content):
        place = new_workplace()
        manifest = place.folder / "manifest.tsv"
        manifest.write_bytes(content if isinstance(content, bytes) else content.encode())
        output = self.output(
            place, base="pbmc", config={"data": {"h5ad": {"manifest": "manifest.tsv"}}}
        )
        assert "manifest.tsv" in output
        assert self.left(place) == []

    @pytest.mark.parametrize(
        ("change", "key"),
        [
            ({"data": {"genes": "nowhere.txt"}}, "data.genes names nowhere.txt"),
            ({"ontology": {"file": "no/cl.obo"}}, "ontology.file names no/cl.obo"),
            ({"training": {"monitor": ["test"]}}, "training.monitor names 'test'"),
        ],
    )
    def test_a_wrong_name_after_a_finished_run(self, finished, change, key):
        assert key in self.output(finished, config=change)

    def test_an_h5ad_that_is_missing(self, new_workplace):
        place = new_workplace()
        output = self.output(place, base="pbmc", config={"data": {"h5ad": {"dir": "nowhere"}}})
        assert "nowhere/zheng2017.h5ad" in output
        assert self.left(place) == []

    def test_a_release_that_cannot_be_opened(self, new_workplace):
        place = new_workplace()
        data = {"source": "census", "reference": {"uri": "no/such/soma"}}
        target = "resources/atlas/demo/cells/types.parquet"
        output = self.output(place, target, config={"data": data})
        assert "Error in read_release: Cannot open no/such/soma (release 2023-05-15)" in output
        assert self.left(place) == []
