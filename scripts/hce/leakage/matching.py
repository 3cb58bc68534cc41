"""The effect of matching types by label and genes by name, in the new studies of a release.

The published code selects OOD types by label and divides by the counts of all features whose name
is in the gene list. Here, types are matched by label too unless `curation.match` says otherwise,
but genes by feature_id, and cells are divided by the counts of the models' genes. These functions
measure the differences.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hce.census.counts import CountsReader
from hce.census.release import ORGANISM, Release
from hce.curation.matching import types_both_ways
from hce.inputs.gene_names import without_version

# Number of cells of a study whose further features are read.
SAMPLE = 256


def compare_matching(
    path: str | Path, known_studies: Sequence[str], types: pd.DataFrame
) -> pd.DataFrame:
    """The annotations of new studies, with their types by label and by CL id.

    Args:
        path: cells of the newer release, as `census.read_cells` writes them.
        known_studies: dataset_ids of the releases that decide what is new.
        types: the types of the hierarchy: cl_id, label.

    Returns:
        label, cl_id, cells, by_label and by_id: label of the type, or "".
    """
    old = pa.array(known_studies, pa.string())
    columns = ["cell_type", "cell_type_ontology_term_id"]
    counted = []
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(1 << 20, columns=["dataset_id", *columns]):
            table = pa.table(batch)
            study = table["dataset_id"].cast(pa.string())
            table = table.filter(pc.invert(pc.is_in(study, old))).select(columns)
            table = table.cast(pa.schema([(name, pa.string()) for name in columns]))
            counted.append(table.group_by(columns).aggregate([([], "count_all")]).to_pandas())
    empty = pd.DataFrame(columns=[*columns, "count_all"]).astype(
        {**dict.fromkeys(columns, str), "count_all": np.int64}
    )
    cells = pd.concat([empty, *counted]).groupby(columns).sum().reset_index()
    counts = cells.set_axis(["label", "cl_id", "cells"], axis=1)
    return types_both_ways(counts, types)


def summarise_matching(annotations: pd.DataFrame) -> pd.DataFrame:
    """The numbers of cells and types with each way of matching (quantity, value).

    Args:
        annotations: result of `compare_matching`.
    """
    cells = annotations["cells"]
    by_label, by_id = annotations["by_label"], annotations["by_id"]
    types = [set(column[column != ""]) for column in (by_label, by_id)]
    both = (by_label != "") & (by_id != "")
    return pd.DataFrame(
        [
            ("cells by label", cells[by_label != ""].sum()),
            ("cells by CL id", cells[by_id != ""].sum()),
            ("cells missing if matched by CL id", cells[(by_label != "") & (by_id == "")].sum()),
            ("cells added if matched by CL id", cells[(by_label == "") & (by_id != "")].sum()),
            ("cells of another type by CL id", cells[both & (by_label != by_id)].sum()),
            ("types by label", len(types[0])),
            ("types by CL id", len(types[1])),
            ("types missing if matched by CL id", len(types[0] - types[1])),
            ("types added if matched by CL id", len(types[1] - types[0])),
        ],
        columns=["quantity", "value"],
    )


def read_raw_sums(release: Release, cells: pd.DataFrame) -> np.ndarray | None:
    """The release's own totals over all features (`raw_sum`), float64, in order of the cells.

    None if the release has no such column (census schemas before 1.2.0).

    Args:
        release: the open release.
        cells: soma_joinid and study; the cells of a study are contiguous in the release.
    """
    obs = release.part("census_data", ORGANISM, "obs")
    if "raw_sum" not in obs.schema.names:
        return None
    found = [pd.Series(dtype=np.float64)]
    for ids in cells.groupby("study", observed=True)["soma_joinid"]:
        span = slice(int(ids[1].min()), int(ids[1].max()))
        table = obs.read((span,), column_names=["soma_joinid", "raw_sum"]).concat()
        found.append(table.to_pandas().set_index("soma_joinid")["raw_sum"])
    return pd.concat(found[1:] or found).reindex(cells["soma_joinid"]).to_numpy(np.float64)


def features_beyond(
    genes: pd.DataFrame, release_genes: pd.DataFrame, names: Sequence[str] | None
) -> np.ndarray:
    """Features that match the gene list by name and are not among the models' genes.

    Args:
        genes: the models' genes: feature_id.
        release_genes: the release's genes: soma_joinid, feature_id, feature_name.
        names: names of the gene list; None for all features.

    Returns:
        int64, their soma_joinids.
    """
    own = set(map(without_version, genes["feature_id"]))
    wanted = ~release_genes["feature_id"].map(without_version).isin(own)
    if names is not None:
        wanted &= release_genes["feature_name"].isin(set(names))
    return release_genes.loc[wanted, "soma_joinid"].to_numpy(np.int64)


def sample_totals(release: Release, features: np.ndarray, cells: pd.DataFrame) -> pd.Series:
    """Totals over some features, of the first `SAMPLE` cells of each study.

    Args:
        release: the open release.
        features: soma_joinids of the features.
        cells: soma_joinid and study.

    Returns:
        soma_joinid → total; empty if there are no features.
    """
    first = cells.groupby("study", observed=True)["soma_joinid"].head(SAMPLE)
    ids = np.sort(first.to_numpy(np.int64))
    found = [pd.Series(dtype=np.float64)]
    if len(features):
        for part, counts in CountsReader(release, features).blocks(ids):
            running = np.concatenate([[0], np.cumsum(counts.values, dtype=np.float64)])
            found.append(pd.Series(np.diff(running[counts.indptr]), index=part))
    return pd.concat(found[1:] or found)


def compare_totals(
    cells: pd.DataFrame,
    totals: np.ndarray,
    raw_sums: np.ndarray | None,
    beyond: pd.Series,
    n_beyond: int,
) -> pd.DataFrame:
    """For each study, the totals over the models' genes as shares of larger totals.

    Args:
        cells: study and soma_joinid, in order of the store.
        totals: int64, counts of each cell in the models' genes.
        raw_sums: its counts in all features, None if the release does not have them.
        beyond: soma_joinid → counts in features that match only by name, for some cells.
        n_beyond: number of these features.

    Returns:
        study; share_of_all and share_of_named with `_median`, `_min`, `_max`: the totals divided
        by those over all features and by those over all features that match by name. NaN if
        unknown.
    """
    study = cells["study"].astype(str).to_numpy()
    table = pd.DataFrame({"study": study})
    table["share_of_all"] = np.nan
    if raw_sums is not None:
        table["share_of_all"] = totals / np.where(raw_sums > 0, raw_sums, np.nan)
    table["share_of_named"] = 1.0
    if n_beyond:
        named = totals + beyond.reindex(cells["soma_joinid"]).to_numpy(np.float64)
        table["share_of_named"] = totals / np.where(named > 0, named, np.nan)
    statistics = table.groupby("study").agg(["median", "min", "max"])
    statistics.columns = ["_".join(names) for names in statistics.columns]
    return statistics.reset_index()
