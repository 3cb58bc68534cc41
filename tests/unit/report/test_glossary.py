"""Every column of every table is explained once, and docs/tables.md says the same."""

import pytest

import table_reference
from conftest import REPOSITORY
from hce.report.glossary import entries, glossary, meaning


def test_the_page_is_what_the_glossary_gives():
    page = (REPOSITORY / "docs/tables.md").read_text(encoding="utf-8")
    assert page == table_reference.reference(), "run `make docs`"


def test_a_table_may_say_a_column_otherwise():
    assert "Kind of type" in meaning("data_types", "kind")
    assert "What the stratum is" in meaning("per_stratum", "kind")
    assert meaning("overall", "no such column") is None


@pytest.mark.parametrize("column", ["cells_train", "cells_ood_2024-07-01"])
def test_the_columns_of_sets_are_explained_whatever_the_sets(column):
    assert "cells in the set" in meaning("data_types", column)


def test_meanings_are_sentences():
    for table, column, text in entries():
        assert text.endswith("."), (table, column)


def test_a_merged_entry_is_listed_as_its_own():
    assert "| `stratum_changes` | `d_z` " in " ".join(glossary().split()).replace("  ", " ")
