"""Counts the labels of each study of a release while obs is streamed."""

from collections import Counter

import pandas as pd
import pyarrow as pa

from hce.errors import UserError

# Columns of obs → columns of the counts.
_COLUMNS = {
    "dataset_id": "study",
    "cell_type_ontology_term_id": "cl_id",
    "cell_type": "label",
}
# The Census's own label of cells whose authors give no type.
UNKNOWN = "unknown"


class LabelCounts:
    """Counts cells by study and label; memory grows with the labels and not with the cells."""

    def __init__(self) -> None:
        self._cells: Counter[tuple[str, str, str]] = Counter()

    def add(self, obs: pa.Table, uri: str) -> None:
        """Counts some rows of obs.

        Args:
            obs: dataset_id, cell_type_ontology_term_id and cell_type, plain or as dictionaries.
            uri: address of the release, for messages.

        Raises:
            UserError: a cell has no study.
        """
        plain = obs.select(list(_COLUMNS)).cast(pa.schema([(c, pa.string()) for c in _COLUMNS]))
        found = plain.group_by(list(_COLUMNS)).aggregate([([], "count_all")]).to_pydict()
        cells = found.pop("count_all")
        for (study, term, label), number in zip(
            zip(*found.values(), strict=True), cells, strict=True
        ):
            if not study:
                raise UserError(
                    f"{uri} has {number:,} cells without a study (dataset_id): give each cell of "
                    "obs its study, since sets, splits and vocabularies are made by study."
                )
            self._cells[study, term or UNKNOWN, label or UNKNOWN] += number

    def table(self) -> pd.DataFrame:
        """study, cl_id, label, cells, sorted."""
        rows = [(*key, number) for key, number in sorted(self._cells.items())]
        return pd.DataFrame(rows, columns=[*_COLUMNS.values(), "cells"])
