"""Which studies of a release the choice of assays leaves out, counted while obs is streamed."""

import logging
from collections import Counter
from collections.abc import Collection

import pandas as pd
import pyarrow as pa

logger = logging.getLogger(__name__)

_COLUMNS = ("dataset_id", "assay")
# Studies that a message names.
SHOWN = 10


class AssayCounts:
    """Primary cells of each study and assay."""

    def __init__(self) -> None:
        self._cells: Counter[tuple[str, str]] = Counter()

    def add(self, obs: pa.Table) -> None:
        """Counts some rows of obs: dataset_id and assay, plain or as dictionaries."""
        plain = obs.select(list(_COLUMNS)).cast(pa.schema([(c, pa.string()) for c in _COLUMNS]))
        found = plain.group_by(list(_COLUMNS)).aggregate([([], "count_all")]).to_pydict()
        for *key, number in zip(*found.values(), strict=True):
            self._cells[key[0], key[1]] += number

    def cells_of(self, assays: Collection[str]) -> dict[str, int]:
        """Cells of each of some assays, of all studies."""
        counts = dict.fromkeys(assays, 0)
        for (_, assay), cells in self._cells.items():
            if assay in counts:
                counts[assay] += cells
        return counts

    def left_out(self, assays: Collection[str]) -> pd.DataFrame:
        """The studies without a cell of the assays: study, cells, assays (", " between them)."""
        rows = [(study, assay, cells) for (study, assay), cells in sorted(self._cells.items())]
        table = pd.DataFrame(rows, columns=["study", "assay", "cells"])
        kept = table.loc[table["assay"].isin(list(assays)), "study"]
        lost = table[~table["study"].isin(kept)].groupby("study")
        return lost.agg(cells=("cells", "sum"), assays=("assay", ", ".join)).reset_index()


def warn_left_out(studies: pd.DataFrame, release: str) -> None:
    """Logs the studies that `AssayCounts.left_out` found."""
    if studies.empty:
        return
    named = [f"{row.study} ({row.assays})" for row in studies.head(SHOWN).itertuples()]
    more = f" and {len(studies) - SHOWN} more" if len(studies) > SHOWN else ""
    logger.warning(
        "release %s: %d studies have no cell of curation.assays and are left out: %s%s",
        release,
        len(studies),
        ", ".join(named),
        more,
    )
