"""What the columns of the run's tables mean: tables.yaml as Markdown and for the run's page."""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import yaml

from hce.report.markdown import markdown_table


def read_glossary() -> dict[str, Any]:
    """`shared`: column → meaning; `tables`: table → `about` and its own `columns`."""
    text = (files("hce.report") / "tables.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def meaning(table: str, column: str) -> str | None:
    """What a column of a table means, or None if the glossary does not have it."""
    known = read_glossary()
    own: Mapping[str, str] = known["tables"].get(table, {}).get("columns", {})
    if column.startswith("cells_"):  # a set of the run
        column = "cells_train" if "cells_train" in own else column
    return own.get(column, known["shared"].get(column))


def entries() -> Iterator[tuple[str, str, str]]:
    """Table, column and meaning: first the tables themselves (no column), then the columns."""
    known = read_glossary()
    for table, entry in known["tables"].items():
        yield table, "", entry["about"]
    for column, text in known["shared"].items():
        yield "", column, text
    for table, entry in known["tables"].items():
        for column, text in entry.get("columns", {}).items():
            yield table, column, text


def glossary() -> str:
    """The glossary as Markdown: the tables, the columns they share, and those of single tables."""
    found = list(entries())
    tables = [[f"`{table}`", text] for table, column, text in found if not column]
    shared = [[f"`{column}`", text] for table, column, text in found if not table]
    own = [[f"`{t}`", f"`{column}`", text] for t, column, text in found if t and column]
    return "\n\n".join(
        (
            "In `tables/`, tab-separated. Scores are shares from 0 to 1; figures and pages give "
            "them in %, and changes in points. Floats have nine digits so that they can be "
            "computed with, not because nine are known.",
            markdown_table(["table", "what it has"], tables),
            "Columns that mean the same in every table that does not say otherwise:",
            markdown_table(["column", "what it has"], shared),
            "Columns of single tables:",
            markdown_table(["table", "column", "what it has"], own),
        )
    )
