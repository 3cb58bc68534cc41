"""Counts after every filter of the curation, and the published counts."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from hce.files import read_tsv

# (step, quantity) of the report → (quantity, set) of the published numbers.
_PUBLISHED_AS = {
    ("types", "types"): ("types", "reference"),
    ("genes", "genes"): ("genes", "reference"),
    ("split", "cells of the types"): ("cells of the types", "reference"),
    ("split", "donors"): ("donors", "reference"),
    ("split", "studies"): ("studies", "reference"),
    ("split", "cells after the cut"): ("cells", "reference"),
    **{
        ("split", quantity): (quantity, "reference")
        for quantity in (
            "diseases",
            "pairs of tissue_general and type",
            "first soma_joinid of the types",
            "last soma_joinid of the types",
        )
    },
    **{("split", f"{name} cells"): ("cells", name) for name in ("train", "val", "id")},
    **{("new", f"ood {name}"): (name, "ood") for name in ("cells", "studies", "donors", "types")},
}
# Studies left out for their assay that the report names.
LEFT_OUT = 20
# The releases of the sets with published numbers.
_REFERENCE, _NEWER = "2023-05-15", "2023-12-15"


def gather_report(
    descriptions: Sequence[str | Path],
    datasets: Sequence[str | Path],
    parts: Sequence[str | Path],
) -> pd.DataFrame:
    """One table of the counts after every filter.

    Args:
        descriptions: `release.json` of each release, the reference first.
        datasets: `datasets.parquet` of each release, in the same order.
        parts: reports of the steps (quantity, value), named `<step>.tsv` for the reference and
            `<step>_<release>.tsv` for other releases.

    Returns:
        release, step, quantity, value.
    """
    tables = []
    releases = [json.loads(Path(path).read_text(encoding="utf-8")) for path in descriptions]
    for release, path in zip(releases, datasets, strict=True):
        steps = {
            "datasets": pq.read_metadata(path).num_rows,
            "human cells": release["cells"]["all"],
            "primary cells": release["cells"]["primary"],
            **(
                {"primary cells of the tissue types": release["cells"]["tissues"]}
                if "tissues" in release["cells"]
                else {}
            ),
            "primary cells of the assays": release["cells"]["assays"],
            "studies without a cell of the assays": len(release.get("left_out", [])),
        }
        steps |= {
            f"cells of study {study['study']}, left out ({study['assays']})": study["cells"]
            for study in release.get("left_out", [])[:LEFT_OUT]
        }
        steps |= {
            f"primary cells of the newer assay {assay}, left out": cells
            for assay, cells in release.get("newer_assays", {}).items()
        }
        table = pd.DataFrame({"quantity": list(steps), "value": list(steps.values())})
        tables.append(table.assign(release=release["release"], step="cells"))
    for path in map(Path, parts):
        step, _, name = path.stem.partition("_")
        tables.append(read_tsv(path).assign(release=name or releases[0]["release"], step=step))
    return pd.concat(tables, ignore_index=True)[["release", "step", "quantity", "value"]]


def compare_report(
    report: pd.DataFrame, published: pd.DataFrame, steps: Sequence[str]
) -> pd.DataFrame:
    """Adds the published counts to a report.

    Args:
        report: result of `gather_report`.
        published: resources/published.tsv: quantity, set, value, note. For a whole release, the set
            is the name of the release.
        steps: steps whose counts can be compared; empty if the cells are not those of the paper.

    Returns:
        The report with `published` (missing if nothing was published) and `equal` ("equal" or
        "different"). A number whose note says "about" is equal if its two leading digits round to
        those of the published one.
    """
    counts = {
        (row["quantity"], row["set"]): row
        for row in published[["quantity", "set", "value", "note"]].to_dict("records")
    }
    values: list[float | None] = []
    words: list[str | None] = []
    for row in report.to_dict("records"):
        key = (row["quantity"], row["release"])
        if row["step"] != "cells":
            key = _PUBLISHED_AS.get((row["step"], row["quantity"]), ("", ""))
            if row["release"] != (_NEWER if row["step"] == "new" else _REFERENCE):
                key = ("", "")
        entry = counts.get(key) if row["step"] in steps else None
        values.append(None if entry is None else entry["value"])
        words.append(None if entry is None else _word(row["value"], entry))
    return report.assign(
        published=pd.array(values, dtype="Int64"),
        equal=pd.Series(words, index=report.index, dtype=object),
    )


def _word(value: float, entry: dict) -> str:
    tolerance = 0.0
    if "about" in str(entry["note"]):
        tolerance = 10.0 ** (math.floor(math.log10(entry["value"])) - 1) / 2
    return "equal" if abs(value - entry["value"]) <= tolerance else "different"
