"""The whole workflow on a small simulated atlas."""

import pandas as pd
import pytest

from hce.files import read_tsv

pytestmark = pytest.mark.workflow

TABLES = {
    *("overall", "per_type", "per_study", "confusion", "type_changes", "study_changes"),
    *("data_totals", "data_tissues", "data_types"),
}


def test_one_command_makes_every_table_figure_and_report(finished):
    results = finished.folder / "results/demo"
    assert {p.stem for p in (results / "tables").glob("*.tsv")} == TABLES
    for number in (1, 2):
        for form in ("pdf", "png", "svg"):
            assert (results / f"figures/figure_{number}.{form}").stat().st_size > 5000
    summary = (results / "summary.md").read_text()
    assert "Simulated data" in summary
    report = (results / "report.html").read_text()
    assert "Simulated" in report
    assert "figure_1.png" in report
    assert "figure_2.png" in report


def test_scores_are_there_for_every_fit_and_set(finished):
    overall = read_tsv(finished.folder / "results/demo/tables/overall.tsv")
    found = overall.groupby(["loss", "seed", "set"]).size().index
    expected = pd.MultiIndex.from_product([["ce", "hce"], [0, 1], ["id", "ood", "val"]])
    assert set(found) == set(expected)
    assert overall["value"].between(0, 1).all()


def test_nothing_left_over_stays_behind(finished):
    assert not list(finished.folder.rglob("*.partial*"))
    assert not list((finished.folder / "resources/atlas/demo/export").rglob("*.arrow"))


def test_logs_hold_no_traceback(finished):
    logs = list(finished.folder.rglob("logs/**/*.log"))
    assert len(logs) > 20
    assert not [log for log in logs if "Traceback" in log.read_text()]


def test_a_second_run_has_nothing_to_do(finished):
    assert finished.planned({}) == {}


def test_the_same_config_gives_the_same_tables_byte_for_byte(finished, new_workplace):
    other = new_workplace()
    assert other.snakemake().returncode == 0
    for table in TABLES:
        path = f"results/demo/tables/{table}.tsv"
        assert (finished.folder / path).read_bytes() == (other.folder / path).read_bytes(), table


TABLES_ON = {"gather_scores", "test_changes", "plot_figure_1", "plot_figure_2", "write_summary"}
SCORES_ON = {"score_fit"} | TABLES_ON
PREDICT_ON = {"predict"} | SCORES_ON
FIT_ON = {"fit"} | PREDICT_ON
STORE_ON = {"build_store", "export_counts", "describe_data"} | FIT_ON


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"statistics": {"alpha": 0.01}}, {"test_changes", "plot_figure_2", "write_summary"}),
        ({"figures": {"subgraph": "CL:0000236"}}, {"plot_figure_2"}),
        ({"decoders": ["argmax", "ancestor_sum"]}, PREDICT_ON),
        ({"training": {"patience": 3}}, FIT_ON),
        ({"models": {"linear": {"optimizer": {"lr": 0.01}}}}, FIT_ON),
        ({"training": {"threads": 2}}, set()),
        ({"losses": {"mine": {"class": "my.module:Loss"}}}, set()),
        (
            {"split": {"seed": 2}},
            {"split_reference", "report_curation"} | STORE_ON,
        ),
        (
            {"curation": {"min_donors": 4}},
            {"select_types", "split_reference", "select_new_studies", "report_curation"} | STORE_ON,
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_change_of_one_key_reruns_what_depends_on_it_and_nothing_else(finished, change, expected):
    assert set(finished.planned(change)) == expected | {"write_config"}


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
        data = place.folder / "resources/atlas"
        return [p for p in data.rglob("*") if p.is_file() and p.suffix != ".log"]

    def test_a_typo_in_the_config(self, new_workplace):
        output = self.output(new_workplace(), "--dry-run", config={"trainin": {}})
        assert "The config has no key 'trainin' (did you mean training?)" in output

    def test_an_ontology_that_is_truncated(self, new_workplace, repository):
        place = new_workplace()
        whole = (repository / "resources/ontology/cl-slim.obo").read_text()
        (place.folder / "cut").mkdir()
        (place.folder / "cut/cl.obo").write_text(whole[: len(whole) // 2])
        output = self.output(place, base="pbmc", config={"ontology": {"file": "cut/cl.obo"}})
        assert "Error in build_h5ad_census: Ontology file cut/cl.obo" in output
        assert self.left(place) == []

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
