"""The summary's section on published numbers, where the run has the data of the publications."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from hce.report.markdown import NOTHING, markdown_table, number
from hce.report.published import READINGS, SCORES, THRESHOLDS, compare

PAPER = "https://doi.org/10.1038/s43588-025-00945-z"


def published_against_reproduced(tables: Mapping[str, pd.DataFrame], note: str | None) -> str:
    """Published numbers beside those of the run.

    Args:
        tables: see `published.compare`.
        note: what the data are, if not those of the paper; None if they are.

    Returns:
        Markdown with headings of the third level; one line where the data are others.
    """
    if note is not None:
        return (
            f"{note}: not the data of [the paper]({PAPER}), whose numbers "
            "(`resources/published.tsv`) are therefore not compared with those of this run."
        )
    rows = compare(tables["published"], tables)
    return "\n\n".join(
        (
            THRESHOLDS,
            "### Published data",
            _data(rows),
            "### Published scores",
            _published_scores(rows),
            "### Further published scores",
            _further_scores(rows),
            "### Published changes",
            _published_changes(rows),
        )
    )


def _remark(row: Mapping[Any, Any] | pd.Series) -> str:
    return "; ".join(part for part in (row["note"], row["why"]) if part)


def _data(rows: pd.DataFrame) -> str:
    lines = [
        [
            row["set"],
            row["quantity"],
            number(row["value"], row["unit"]),
            number(row["reproduced"], row["unit"]),
            row["status"],
            _remark(row),
        ]
        for row in rows[rows["score"] == ""].to_dict("records")
    ]
    header = ["set", "quantity", "published", "this run", "status", "remark"]
    table = markdown_table(header, lines, right=("published", "this run"))
    return "`reference` is train, val and id together.\n\n" + table


def _published_scores(rows: pd.DataFrame) -> str:
    scores = rows[rows["quantity"] == "macro_f1"]
    lines = []
    # The two readings of a published number follow one another.
    for (_, every), (_, some) in zip(
        scores[scores["reading"] == READINGS[0]].iterrows(),
        scores[scores["reading"] == READINGS[1]].iterrows(),
        strict=True,
    ):
        lines.append(
            [
                every["source"].split(",")[0],
                every["model"],
                every["loss"] or NOTHING,
                every["set"],
                number(every["value"], "%"),
                _reproduced(every),
                every["status"],
                _reproduced(some),
                some["status"],
                _remark(every),
            ]
        )
    header = ["source", "model", "loss", "set", "published", "all types", "status"]
    header += ["OOD types", "status", "remark"]
    return (
        "Credited macro F1 in %, argmax, mean ± standard deviation over seeds, computed in "
        "two ways: over all types of the set, and over those that occur in the OOD set.\n\n"
    ) + markdown_table(header, lines, right=("published", "all types", "OOD types"))


def _reproduced(row: pd.Series) -> str:
    sd = "" if pd.isna(row["sd"]) else f" ± {row['sd']:.1f}"
    return number(row["reproduced"], row["unit"]) + sd


def _further_scores(rows: pd.DataFrame) -> str:
    lines = [
        [
            row["source"].split(",")[0],
            row["model"],
            row["loss"],
            row["set"],
            row["quantity"].replace("_", " "),
            number(row["value"], row["unit"]),
            _reproduced(row),
            row["status"],
        ]
        for _, row in rows[rows["quantity"].isin(SCORES[1:])].iterrows()
    ]
    header = ["source", "model", "loss", "set", "score", "published", "this run", "status"]
    return "Credited, in %, argmax, over all types of the set.\n\n" + markdown_table(
        header, lines, right=("published", "this run")
    )


def _published_changes(rows: pd.DataFrame) -> str:
    lines = [
        [
            row["quantity"].replace("_", " "),
            row["model"] or "all",
            row["loss"],
            row["set"],
            number(row["value"], row["unit"]),
            number(row["reproduced"], row["unit"]),
            row["unit"],
            row["status"],
            _remark(row),
        ]
        for row in rows[(rows["score"] != "") & ~rows["quantity"].isin(SCORES)].to_dict("records")
    ]
    header = ["quantity", "model", "loss", "set", "published", "this run", "unit", "status"]
    return "Changes of credited F1 against `ce`, argmax.\n\n" + markdown_table(
        [*header, "remark"], lines, right=("published", "this run")
    )
