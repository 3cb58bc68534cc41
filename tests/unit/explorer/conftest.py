"""A run of six types that the tests of the explorer share."""

import pandas as pd
import pytest

from explorer_tables import TYPES, collect, make_tables
from hce.explorer.data import count_studies
from hce.ontology import Hierarchy


@pytest.fixture(scope="module")
def six_types(slim):
    return Hierarchy.build(TYPES, slim)


@pytest.fixture(scope="module")
def studies(tmp_path_factory, six_types):
    folder = tmp_path_factory.mktemp("cells")
    cells = pd.DataFrame(
        {
            "label": [0, 0, 1, 0, 2],
            "study": ["s2", "s1", "s1", "s1", "s1"],
            "set": pd.Categorical(["id", "id", "id", "id", "ood"]),
        }
    )
    datasets = pd.DataFrame({"dataset_id": ["s1"], "dataset_title": ["A study"]})
    cells.to_parquet(folder / "cells.parquet")
    datasets.to_parquet(folder / "datasets.parquet")
    return count_studies([folder / "cells.parquet"], [folder / "datasets.parquet"])


@pytest.fixture(scope="module")
def tables(six_types):
    return make_tables(six_types)


@pytest.fixture(scope="module")
def data(tables, six_types, studies):
    return collect(tables, six_types, studies, "Simulated data")
