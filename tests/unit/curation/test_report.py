"""The counts of every filter, beside the published ones."""

import json

import numpy as np
import pandas as pd
import pytest

from hce.curation.report import compare_report, gather_report
from hce.files import read_tsv, write_tsv

OLD, NEW = "2023-05-15", "2023-12-15"
ALL = ["cells", "types", "genes", "split", "new"]


@pytest.fixture
def published(repository):
    return read_tsv(repository / "resources/published.tsv")


@pytest.fixture
def gathered(tmp_path):
    """Gathers reports; those of steps are {name of the file: {quantity: value}}."""

    def make(parts, datasets=(562, 651), cells=(53_794_728, 62_998_417), releases=(OLD, NEW)):
        described, listed, paths = [], [], []
        for name, number, total in zip(releases, datasets, cells, strict=True):
            path = tmp_path / f"{name}.json"
            steps = {"all": total, "primary": 2, "assays": 1}
            path.write_text(json.dumps({"release": name, "cells": steps}))
            described.append(path)
            listed.append(tmp_path / f"{name}.parquet")
            pd.DataFrame({"dataset_id": range(number)}).to_parquet(listed[-1])
        for name, values in parts.items():
            paths.append(tmp_path / f"{name}.tsv")
            write_tsv(pd.DataFrame(values.items(), columns=["quantity", "value"]), paths[-1])
        return gather_report(described, listed, paths)

    return make


def test_the_report_names_the_release_of_every_step(gathered):
    report = gathered({"types": {"x": 7}, f"new_{NEW}": {"x": 8}, f"studies_{OLD}": {"x": 9}})
    assert len(report) == 13
    assert report.iloc[0].tolist() == [OLD, "cells", "datasets", 562]
    assert report.iloc[-3:].to_numpy().tolist() == [
        [OLD, "types", "x", 7],
        [NEW, "new", "x", 8],
        [OLD, "studies", "x", 9],
    ]


def test_the_papers_own_counts_are_all_equal_to_the_published_ones(gathered, published):
    split = {"cells of the types": 22_190_622, "donors": 5052, "studies": 249}
    split |= {"train cells": 15_240_192, "val cells": 3_500_032, "id cells": 3_448_832}
    split |= {"cells after the cut": 22_189_056, "diseases": 52}
    split |= {"pairs of tissue_general and type": 1488}
    split |= {
        "first soma_joinid of the types": 15,
        "last soma_joinid of the types": 53_794_727,
    }
    new = {"ood cells": 2_613_477, "ood studies": 21, "ood donors": 470, "ood types": 80}
    parts = {"types": {"types": 164}, "genes": {"genes": 19_331}, "split": split}
    report = compare_report(gathered(parts | {f"new_{NEW}": new}), published, ALL)
    compared = report.dropna(subset="published")
    # Two of each release as a whole and one of the older one, and all of the steps.
    assert len(compared) == 5 + 2 + len(split) + len(new)
    assays = compared["quantity"] == "primary cells of the assays"
    assert compared.loc[assays, "published"].tolist() == [28_169_974]
    assert (compared.loc[~assays, "equal"] == "equal").all()
    exact = compared[(compared["quantity"] != "ood cells") & ~assays]
    assert (exact["published"] == exact["value"]).all()


def test_a_count_that_differs_by_one_is_different(gathered, published):
    report = compare_report(
        gathered({"types": {"types": 163}, "split": {"donors": 5053}}, (562, 650)), published, ALL
    ).set_index(["release", "quantity"])["equal"]
    assert report[(OLD, "types")] == report[(OLD, "donors")] == "different"
    assert report[(NEW, "datasets")] == "different"
    assert report[(OLD, "datasets")] == "equal"
    assert pd.isna(report[(OLD, "primary cells")])


@pytest.mark.parametrize(("cells", "word"), [(2_649_999, "equal"), (2_651_000, "different")])
def test_a_rounded_number_is_equal_where_it_rounds_alike(gathered, published, cells, word):
    report = compare_report(gathered({f"new_{NEW}": {"ood cells": cells}}), published, ALL)
    assert report["equal"].iloc[-1] == word


def test_other_releases_and_other_data_are_not_compared(gathered, published):
    parts = {"types": {"types": 164}, "new_2024-07-01": {"ood types": 80}}
    report = gathered(parts, releases=(OLD, "2024-07-01"))
    found = compare_report(report, published, ALL)
    assert found.loc[found["release"] == "2024-07-01", "published"].isna().all()
    none = compare_report(report, published, [])
    assert none[["published", "equal"]].isna().to_numpy().all()
    only_releases = compare_report(report, published, ["cells"])
    assert set(only_releases.dropna()["step"]) == {"cells"}


def test_the_table_says_na_where_nothing_was_published(gathered, published, tmp_path):
    write_tsv(compare_report(gathered({}), published, ALL), tmp_path / "report.tsv")
    lines = (tmp_path / "report.tsv").read_text().splitlines()
    assert lines[0].split("\t")[-2:] == ["published", "equal"]
    assert lines[1].split("\t")[-3:] == ["562", "562", "equal"]
    assert lines[3].split("\t")[-3:] == ["2", "NA", "NA"]
    assert np.isnan(read_tsv(tmp_path / "report.tsv")["published"].iloc[2])
