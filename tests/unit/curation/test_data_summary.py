"""The data summary against plain pandas on the whole table at once."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hce.curation.data_summary import describe
from hce.errors import UserError

HIERARCHY_TYPES = pd.DataFrame(
    {
        "index": np.arange(3, dtype=np.int32),
        "cl_id": ["CL:2", "CL:0", "CL:1"],
        "label": ["a", "b", "c"],
        "parents": [np.array([]), np.array(["CL:2"]), np.array(["CL:0", "CL:2"])],
        "kind": ["internal", "internal", "leaf"],
        "connected": [True, True, True],
        "depth": [0, 1, 2],
        "n_ancestors": [8, 9, 10],
    }
)
TYPES = pd.DataFrame({"cl_id": ["CL:0", "CL:1", "CL:2"], "train_cells": [5, 6, 7]})


@pytest.fixture
def cells(tmp_path: Path) -> tuple[pd.DataFrame, list[Path]]:
    rng = np.random.default_rng(3)
    n = 2000
    frame = pd.DataFrame(
        {
            "soma_joinid": np.arange(n),
            "label": rng.integers(0, 3, n).astype(np.int16),
            "study": pd.Categorical([f"study {i}" for i in rng.integers(0, 9, n)]),
            "donor": pd.Categorical([f"donor {i}" for i in rng.integers(0, 40, n)]),
            "set": rng.choice(["val", "id", "train", "ood"], n),
            "tissue_general": pd.Categorical(rng.choice(["lung", "blood", "gut", "eye"], n)),
            "assay": pd.Categorical([f"assay {i}" for i in rng.integers(0, 400, n)]),
        }
    )
    eye = frame["tissue_general"] == "eye"
    frame.loc[eye & (frame["set"] == "ood"), "tissue_general"] = "gut"
    frame["set"] = frame["set"].astype("category")
    paths = [tmp_path / "reference.parquet", tmp_path / "new.parquet"]
    is_new = frame["set"] == "ood"
    frame[~is_new].to_parquet(paths[0], row_group_size=250)
    frame[is_new].to_parquet(paths[1], row_group_size=250)
    return frame, paths


def test_totals_are_distinct_values_per_set_and_over_the_reference_release(cells, monkeypatch):
    monkeypatch.setattr("hce.curation.data_summary.BATCH", 128)
    frame, paths = cells
    totals = describe(paths, TYPES, HIERARCHY_TYPES)["totals"].set_index("set")
    assert totals.index.tolist() == ["train", "val", "id", "ood", "reference"]
    for name, row in totals.iterrows():
        part = frame[frame["set"] != "ood"] if name == "reference" else frame[frame["set"] == name]
        columns = ["label", "donor", "study", "tissue_general"]
        assert row.tolist() == [len(part), *part[columns].astype(str).nunique()]


def test_tissues_and_types_count_every_cell_once(cells):
    frame, paths = cells
    tables = describe(paths, TYPES, HIERARCHY_TYPES)
    expected = frame.astype({"set": str, "tissue_general": str}).value_counts(
        ["set", "tissue_general"]
    )
    found = tables["tissues"].set_index(["set", "tissue_general"])["cells"]
    assert found.to_dict() == expected.to_dict()
    assert ("ood", "eye") not in found.index
    for _, part in tables["tissues"].groupby("set"):
        assert part["cells"].is_monotonic_decreasing
    for name in ("train", "val", "id", "ood"):
        by_label = frame[frame["set"] == name]["label"].value_counts().sort_index()
        assert tables["types"][f"cells_{name}"].tolist() == by_label.tolist()


def test_types_say_over_how_much_of_the_training_data_they_spread(cells, monkeypatch):
    monkeypatch.setattr("hce.curation.data_summary.BATCH", 128)
    frame, paths = cells
    table = describe(paths, TYPES, HIERARCHY_TYPES)["types"]
    training = frame[frame["set"] == "train"].groupby("label")
    for name, column in (
        ("train_studies", "study"),
        ("train_tissues", "tissue_general"),
        ("train_assays", "assay"),
    ):
        assert table[name].tolist() == training[column].nunique().tolist()
    assert table["train_assays"].nunique() > 1


def test_types_carry_their_place_in_the_hierarchy(cells):
    table = describe(cells[1], TYPES, HIERARCHY_TYPES)["types"]
    assert table["parents"].tolist() == ["", "CL:2", "CL:0;CL:2"]
    assert table["train_cells"].tolist() == [7, 5, 6]
    assert table["index"].tolist() == [0, 1, 2]


def test_without_new_releases_there_is_no_ood_row(cells):
    tables = describe(cells[1][:1], TYPES, HIERARCHY_TYPES)
    assert tables["totals"]["set"].tolist() == ["train", "val", "id", "reference"]
    assert "cells_ood" not in tables["types"].columns


def test_types_that_are_not_the_hierarchys_are_named(cells):
    with pytest.raises(UserError, match="Type CL:2 is in the hierarchy or in the table"):
        describe(cells[1], TYPES.replace("CL:2", "CL:9"), HIERARCHY_TYPES)
