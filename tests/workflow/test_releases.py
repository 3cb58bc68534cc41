"""Several newer releases, a few studies only, and the types that are expected.

On simulated releases that are opened as any Census is: by their URI.
"""

import pandas as pd
import pytest

from hce.files import read_tsv

pytestmark = pytest.mark.workflow

REFERENCE, NEWER, NEWEST = "2023-05-15", "2023-12-15", "2024-07-01"
DATA = "resources/atlas/uris"
OVERALL = "results/uris/tables/overall.tsv"
REPORT = f"{DATA}/cells/report.tsv"
TYPES = "resources/ontology/cell_types_164.tsv"


@pytest.fixture(scope="module")
def place(new_workplace):
    """A workplace with three simulated releases."""
    place = new_workplace()
    releases = [REFERENCE, NEWER, NEWEST]
    new = {"new": [{"release": NEWER}, {"release": NEWEST}], "simulation": {"genes": 150}}
    targets = [f"resources/atlas/demo/census/{release}/soma" for release in releases]
    done = place.snakemake(*targets, config={"data": new})
    assert done.returncode == 0, done.stderr[-5000:]
    return place


def config(*releases, **curation):
    """The releases by their URIs, the first as the reference."""
    first, *others = (
        {"release": release, "uri": f"resources/atlas/demo/census/{release}/soma"}
        for release in releases
    )
    return {
        "run": "uris",
        "data": {"name": "uris", "source": "census", "reference": first, "new": others},
        "curation": {"expected_types": None, **curation},
        "fits": {"seeds": [0]},
        "training": {"max_epochs": 1},
        "controls": {"losses": []},
    }


@pytest.fixture(scope="module")
def with_one(place):
    """The workplace after a run with one newer release."""
    done = place.snakemake(OVERALL, REPORT, config=config(REFERENCE, NEWER))
    assert done.returncode == 0, done.stderr[-5000:]
    return place


@pytest.fixture(scope="module")
def with_two(with_one):
    """Models before the second newer release was added, what was planned then, and the place."""
    both = config(REFERENCE, NEWER, NEWEST)
    planned = with_one.planned(both)
    before = {path: path.stat().st_mtime_ns for path in with_one.folder.rglob("model.pt")}
    done = with_one.snakemake(OVERALL, REPORT, config=both)
    assert done.returncode == 0, done.stderr[-5000:]
    return before, planned, with_one


def test_a_newer_release_that_is_added_trains_nothing(with_two):
    before, planned, place = with_two
    assert len(before) == 2
    assert {path: path.stat().st_mtime_ns for path in place.folder.rglob("model.pt")} == before
    assert not {"fit", "select_types", "split_reference", "select_genes"} & planned.keys()
    assert planned["read_release"] == planned["build_store"] == planned["select_new_studies"] == 1
    assert "export_counts" in planned


def test_every_release_has_its_own_set_and_scores(with_two):
    _, _, place = with_two
    overall = read_tsv(place.folder / OVERALL)
    newest = f"ood_{NEWEST}"
    assert {"val", "id", "ood", newest} <= set(overall["set"])
    scored = overall[overall["score"] == "credited_macro_f1"].groupby("set")["loss"].agg(set)
    assert scored[newest] == scored["ood"] == {"ce", "hce"}
    # Each newer release is differenced against the reference, and holds the studies before it.
    cells = {
        release: pd.read_parquet(place.folder / f"{DATA}/cells/{release}.parquet")
        for release in (REFERENCE, NEWER, NEWEST)
    }
    studies = {release: set(table["study"].unique()) for release, table in cells.items()}
    assert studies[NEWER] < studies[NEWEST]
    assert not studies[REFERENCE] & studies[NEWEST]
    assert set(cells[NEWEST]["set"].astype(str)) == {newest}


def test_sets_of_later_releases_can_exclude_each_other(with_two):
    _, _, place = with_two
    exclusive = config(REFERENCE, NEWER, NEWEST)
    exclusive["data"] |= {"name": "exclusive", "new_since": "previous"}
    targets = [
        f"resources/atlas/exclusive/{path}"
        for path in (f"cells/{NEWER}.parquet", f"cells/{NEWEST}.parquet")
    ]
    done = place.snakemake(*targets, config=exclusive)
    assert done.returncode == 0, done.stderr[-5000:]

    def studies(data, release):
        path = place.folder / f"resources/atlas/{data}/cells/{release}.parquet"
        return set(pd.read_parquet(path)["study"].unique())

    assert studies("exclusive", NEWER) == studies("uris", NEWER)
    assert studies("exclusive", NEWEST) == studies("uris", NEWEST) - studies("uris", NEWER)
    assert studies("exclusive", NEWEST)


def test_the_cell_report_sets_published_counts_beside_those_of_a_census(with_two):
    _, _, place = with_two
    report = read_tsv(place.folder / REPORT).set_index(["release", "quantity"])
    assert report.loc[(REFERENCE, "datasets"), ["published", "equal"]].tolist() == [
        *(562, "different"),
    ]
    types = report.loc[(REFERENCE, "types")]
    assert types["published"] == 164
    assert types["equal"] == ("equal" if types["value"] == 164 else "different")
    assert report.loc[(NEWER, "human cells"), "published"] == 62_998_417
    assert report.loc[[NEWEST], "published"].isna().all()


def test_any_pair_of_releases_can_be_named(place):
    pair = config(NEWER, NEWEST)
    pair["data"]["name"] = "pair"
    target = "resources/atlas/pair/cells/report.tsv"
    done = place.snakemake(target, config=pair)
    assert done.returncode == 0, done.stderr[-5000:]
    report = read_tsv(place.folder / target).set_index(["release", "quantity"])["value"]
    assert report[(NEWEST, "ood studies")] > 0
    known = pd.read_parquet(place.folder / f"resources/atlas/pair/cells/{NEWER}.parquet")
    new = pd.read_parquet(place.folder / f"resources/atlas/pair/cells/{NEWEST}.parquet")
    assert not set(known["study"].unique()) & set(new["study"].unique())


def test_other_types_than_expected_stop_the_run_and_are_named(place):
    strict = config(REFERENCE, NEWER, expected_types=TYPES)
    strict["data"]["name"] = "strict"
    done = place.snakemake("resources/atlas/strict/cells/report.tsv", config=strict)
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert "Error in select_types: Curation gives other types than the 164 of" in output
    # The thresholds are lower than those the simulation is made for.
    assert "2 unexpected: interneuron (CL:0000099), thymocyte (CL:0000893): set" in output
    assert "set curation.expected_types to null" in output
    assert not list((place.folder / "resources/atlas/strict").rglob("hierarchy.parquet"))


def test_the_pilots_rule_takes_a_few_small_studies_of_both_releases(place):
    rule = {"min_cells": 500, "min_types": 8, "total_cells": 6000}
    few = config(REFERENCE, NEWER, studies=rule, min_donors=1)
    few["data"]["name"] = few["run"] = "few"
    target = "resources/atlas/few/cells/report.tsv"
    done = place.snakemake(target, config=few)
    assert done.returncode == 0, done.stderr[-5000:]
    data = place.folder / "resources/atlas/few"
    report = read_tsv(place.folder / target).set_index(["release", "quantity"])
    used = {}
    for release in (REFERENCE, NEWER):
        chosen = read_tsv(data / f"cells/chosen/{release}.tsv")
        assert chosen["cells"].between(500, 6000).all()
        assert chosen["cells"].sum() <= 6000
        assert (chosen["types"] >= 8).all()
        assert report.loc[(release, "studies chosen"), "value"] == len(chosen)
        cells = pd.read_parquet(data / f"cells/{release}.parquet")
        used[release] = set(cells["study"].unique())
        assert used[release] <= set(chosen["study"])
    assert not used[REFERENCE] & used[NEWER]
    # Counts of whole releases can still be compared; those of a few studies cannot.
    assert report.loc[(REFERENCE, "datasets"), "equal"] == "different"
    assert report.loc[[(REFERENCE, "types"), (REFERENCE, "genes")], "published"].isna().all()


def test_the_pilots_config_plans_the_whole_pipeline(place):
    done = place.snakemake("--dry-run", "--quiet", "reason", base="pilot")
    assert done.returncode == 0, done.stderr[-3000:]
    for rule in ("read_release", "choose_studies", "fit", "plot_figure_2"):
        assert rule in done.stdout + done.stderr
