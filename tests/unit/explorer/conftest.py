"""A run of six types that the tests of the explorer share."""

import pandas as pd
import pytest

from explorer_tables import TYPES, collect, make_tables
from hce.explorer.data import count_studies
from hce.explorer.page import build_page
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


@pytest.fixture
def visit(open_page, tmp_path):
    """Opens the explorer of some data, as `browser.open_page` does, and waits until it is drawn."""

    def go(data, address="", **options):
        file = tmp_path / "explorer.html"
        file.write_text(build_page(data), encoding="utf-8")
        page = open_page(file, address, **options)
        page.locator("main:not([aria-busy])").wait_for()
        return page

    return go
