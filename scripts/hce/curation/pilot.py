"""Chooses a few small studies of a release, for real cells on a laptop.

There is no list of ids: among the studies of the release with enough cells and enough types, the
smallest are taken, up to a total number of cells.
"""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hce.errors import UserError
from hce.files import atomic_path


def choose_studies(
    cells: str | Path,
    *,
    min_cells: int,
    min_types: int,
    total_cells: int,
    known_studies: Collection[str] = (),
    types: Collection[str] | None = None,
    column: str = "cell_type",
) -> pd.DataFrame:
    """Chooses the smallest studies that are large enough.

    Args:
        cells: table of the release's cells, see `census.read_cells`; streamed.
        min_cells: minimum number of cells of a study.
        min_types: minimum number of types of a study.
        total_cells: maximum number of cells of the chosen studies together.
        known_studies: dataset_ids that are not considered.
        types: what the types are called whose cells count; None for all.
        column: the column that says the type of each cell.

    Returns:
        study, cells, types, sorted by increasing number of cells.

    Raises:
        UserError: no study is large enough, or the smallest one exceeds total_cells.
    """
    counts: Counter[tuple[str, str]] = Counter()
    with pq.ParquetFile(cells) as file:
        for batch in file.iter_batches(columns=["dataset_id", column]):
            groups = pa.table(batch).group_by(["dataset_id", column]).aggregate([([], "count_all")])
            names = zip(*(groups[name].to_pylist() for name in ("dataset_id", column)), strict=True)
            counts.update(dict(zip(names, groups["count_all"].to_pylist(), strict=True)))
    table = pd.DataFrame(
        [(*names, number) for names, number in counts.items()], columns=["study", "type", "cells"]
    )
    table = table[~table["study"].isin(list(known_studies))]
    if types is not None:
        table = table[table["type"].isin(list(types))]
    studies = table.groupby("study").agg(cells=("cells", "sum"), types=("type", "nunique"))
    studies = studies[(studies["cells"] >= min_cells) & (studies["types"] >= min_types)]
    studies = studies.reset_index().sort_values(["cells", "study"], ignore_index=True)
    chosen = studies[studies["cells"].cumsum() <= total_cells]
    if chosen.empty:
        raise UserError(
            f"No study of {cells} can be chosen: {len(studies)} have at least {min_cells:,} cells "
            f"and {min_types} types of the models, and all together may have {total_cells:,}: "
            "change curation.studies."
        )
    return chosen


def keep_studies(source: str | Path, studies: Collection[str], target: str | Path) -> int:
    """Copies the cells of some studies to another table, in their order; returns their number."""
    wanted = pa.array(sorted(studies), pa.string())
    kept = 0
    with (
        atomic_path(target) as temporary,
        pq.ParquetFile(source) as file,
        pq.ParquetWriter(temporary, file.schema_arrow, compression="zstd") as writer,
    ):
        for batch in file.iter_batches():
            column = batch.column("dataset_id").cast(pa.string())
            part = pa.table(batch).filter(pc.is_in(column, wanted))
            if len(part):
                writer.write_table(part.cast(file.schema_arrow))
            kept += len(part)
    return kept
