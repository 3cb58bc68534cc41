"""Writes releases in the format of the Census, for `cellxgene_census.open_soma(uri=…)`.

The layout follows the CELLxGENE Census schema, https://chanzuckerberg.github.io/cellxgene-census/:
1.0.0 for releases before 2023-12-15 and 1.2.0 from then on, without X/normalized, which 1.2.0
added, and without what is needed to serve the data from S3.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.sparse as sp
import tiledbsoma
from tiledbsoma.options import TileDBWriteOptions

from hce.census.release import TISSUE_TYPE
from hce.files import atomic_path

logger = logging.getLogger(__name__)

HUMAN = "homo_sapiens"
MOUSE = "mus_musculus"

ASSAYS = {
    "10x 3' v1": "EFO:0009901",
    "10x 3' v2": "EFO:0009899",
    "10x 3' v3": "EFO:0009922",
    "10x 5' v1": "EFO:0011025",
    "10x 5' v2": "EFO:0009900",
    "10x 3' transcription profiling": "EFO:0030003",
    "10x 5' transcription profiling": "EFO:0030004",
    "Drop-seq": "EFO:0008722",
    "Smart-seq2": "EFO:0008931",
}

# Columns in pairs (a label and its ontology term), and single columns.
TERMS = (
    "assay",
    "cell_type",
    "development_stage",
    "disease",
    "self_reported_ethnicity",
    "sex",
    "tissue",
    "tissue_general",
)
TERM_ID = "{}_ontology_term_id"
OBS_COLUMNS = {
    **{column: pa.large_string() for term in TERMS for column in (term, TERM_ID.format(term))},
    "donor_id": pa.large_string(),
    "suspension_type": pa.large_string(),
    "is_primary_data": pa.bool_(),
}
OBS_STATISTICS = {
    "raw_sum": pa.float64(),
    "nnz": pa.int64(),
    "raw_mean_nnz": pa.float64(),
    "raw_variance_nnz": pa.float64(),
    "n_measured_vars": pa.int64(),
}
VAR_COLUMNS = {
    "feature_id": pa.large_string(),
    "feature_name": pa.large_string(),
    "feature_length": pa.int64(),
}
VAR_STATISTICS = {"nnz": pa.int64(), "n_measured_obs": pa.int64()}
COUNTED_COLUMNS = (*TERMS, "suspension_type")

# Tiles and filters are those of the Census builder, except that zstd has level 5 everywhere: level
# 19 for the dimensions takes most of the writing time and saves little at this size.
TILE = 2048
_ZSTD = {"_type": "ZstdFilter", "level": 5}
_FRAME_CREATE = {
    "capacity": 2**16,
    "allows_duplicates": True,
    "dims": {"soma_joinid": {"filters": ["DoubleDeltaFilter", _ZSTD]}},
    "offsets_filters": ["DoubleDeltaFilter", _ZSTD],
}
_X_CREATE = {
    "capacity": 2**16,
    "cell_order": "row-major",
    "tile_order": "row-major",
    "allows_duplicates": True,
    "dims": {
        "soma_dim_0": {"tile": TILE, "filters": [_ZSTD]},
        "soma_dim_1": {"tile": TILE, "filters": ["ByteShuffleFilter", _ZSTD]},
    },
    "attrs": {"soma_data": {"filters": ["ByteShuffleFilter", _ZSTD]}},
}


@dataclass(frozen=True)
class Study:
    """One dataset of a release.

    Attributes:
        dataset_id: id of the study, the same in every release.
        title: title of the study.
        collection_id: id of the publication or deposit that it belongs to.
        collection_name: name of that collection.
        collection_doi: DOI of that collection, or "".
        obs: one row per cell with the columns of `OBS_COLUMNS`; missing columns become "unknown",
            and a missing `is_primary_data` becomes True.
        counts: integer counts (cells, genes), csr, the genes in the order given to
            `write_census`.
        organism: HUMAN or MOUSE.
    """

    dataset_id: str
    title: str
    collection_id: str
    collection_name: str
    collection_doi: str
    obs: pd.DataFrame
    counts: sp.csr_matrix
    organism: str = HUMAN


def has_tissue_types(release: str) -> bool:
    """Whether a release has the column that census schema 2.0 added."""
    return release >= "2024-07-01"


def has_statistics(release: str) -> bool:
    """Whether a release has the columns that census schema 1.2.0 added."""
    return release >= "2023-12-15"


def write_census(
    path: str | Path,
    release: str,
    studies: Iterable[Study],
    genes: Mapping[str, pd.DataFrame],
    summary: Mapping[str, str] | None = None,
) -> None:
    """Writes one release, atomically; one study at a time is in memory.

    Cells are numbered (soma_joinid) in the order of the studies, within each organism.

    Args:
        path: folder of the release; replaced if it exists.
        release: name of the build, which also decides the schema version.
        studies: the studies; each becomes one fragment of X.
        genes: organism → genes, columns feature_id, feature_name and feature_length (int, 0 if
            unknown).
        summary: further rows of census_info/summary, label → value.
    """
    root: Any
    with atomic_path(path) as temporary, tiledbsoma.Collection.create(str(temporary)) as root:
        info = root.add_new_collection("census_info")
        data = root.add_new_collection("census_data")
        writers: dict[str, _Organism] = {}
        datasets = []
        for number, study in enumerate(studies):
            if study.organism not in writers:
                experiment = data.add_new_collection(study.organism, tiledbsoma.Experiment)
                writers[study.organism] = _Organism(experiment, genes[study.organism], release)
            writers[study.organism].add(number, study)
            datasets.append(_dataset_row(study, release))
        for writer in writers.values():
            writer.finish(n_datasets=len(datasets))
        obs = {organism: writer.obs for organism, writer in writers.items()}
        _write_frame(info, "datasets", pd.DataFrame(datasets))
        _write_frame(info, "summary_cell_counts", _cell_counts(obs))
        _write_frame(info, "summary", _summary(obs, release, summary or {}))
    logger.info(
        "Wrote release %s: %d studies, %s cells.",
        release,
        len(datasets),
        " + ".join(f"{len(frame)} {organism}" for organism, frame in obs.items()),
    )


def _dataset_row(study: Study, release: str) -> dict[str, Any]:
    row = {
        "collection_id": study.collection_id,
        "collection_name": study.collection_name,
        "collection_doi": study.collection_doi,
        "dataset_id": study.dataset_id,
        "dataset_version_id": f"{study.dataset_id}-{release}",
        "dataset_title": study.title,
        "dataset_h5ad_path": f"{study.dataset_id}.h5ad",
        "dataset_total_cell_count": study.counts.shape[0],
    }
    if not has_statistics(release):
        del row["dataset_version_id"]
    return row


@dataclass
class _Organism:
    """The experiment of one organism, to which studies are appended."""

    experiment: tiledbsoma.Experiment
    genes: pd.DataFrame
    release: str
    frames: list[pd.DataFrame] = field(default_factory=list)
    present: dict[int, np.ndarray] = field(default_factory=dict)
    n_cells: int = 0

    def __post_init__(self) -> None:
        self.rna = self.experiment.add_new_collection("ms").add_new_collection(
            "RNA", tiledbsoma.Measurement
        )
        self.nnz = np.zeros(len(self.genes), dtype=np.int64)
        self.n_measured = np.zeros(len(self.genes), dtype=np.int64)
        with self.rna.add_new_collection("X").add_new_sparse_ndarray(
            "raw",
            type=pa.float32(),
            shape=(1, len(self.genes)),
            platform_config={"tiledb": {"create": _X_CREATE}},
        ) as raw:
            self.raw = raw.uri

    def add(self, number: int, study: Study) -> None:
        """Appends the cells of the release's study `number`."""
        counts = study.counts
        n_cells = self.n_cells + counts.shape[0]
        # Opened twice, because a new shape takes effect only at the next opening.
        with tiledbsoma.SparseNDArray.open(self.raw, "w") as raw:
            raw.resize((n_cells, len(self.genes)))
        with tiledbsoma.SparseNDArray.open(self.raw, "w") as raw:
            raw.write(
                _in_global_order(counts, self.n_cells),
                platform_config=TileDBWriteOptions(sort_coords=False),
            )
        per_gene = counts.getnnz(axis=0)
        self.nnz += per_gene
        self.present[number] = per_gene > 0
        self.n_measured[self.present[number]] += counts.shape[0]
        obs = study.obs.reset_index(drop=True).assign(dataset_id=study.dataset_id)
        if has_tissue_types(self.release) and TISSUE_TYPE not in obs:
            obs[TISSUE_TYPE] = "tissue"
        for column in OBS_COLUMNS.keys() - set(obs.columns):
            obs[column] = True if column == "is_primary_data" else "unknown"
        if has_statistics(self.release):
            obs = obs.assign(**_cell_statistics(counts, int(self.present[number].sum())))
        self.frames.append(obs)
        self.n_cells = n_cells

    def finish(self, n_datasets: int) -> None:
        """Writes what is known only after all studies have been added."""
        self.obs = pd.concat(self.frames, ignore_index=True)
        self.frames.clear()
        columns = {"dataset_id": pa.large_string(), **OBS_COLUMNS}
        var = self.genes.reset_index(drop=True)
        var_columns = dict(VAR_COLUMNS)
        if has_statistics(self.release):
            columns |= OBS_STATISTICS
            var_columns |= VAR_STATISTICS
            var = var.assign(nnz=self.nnz, n_measured_obs=self.n_measured)
        if has_tissue_types(self.release):
            columns[TISSUE_TYPE] = pa.large_string()
        _write_frame(self.experiment, "obs", self.obs, columns)
        _write_frame(self.rna, "var", var, var_columns)
        presence = self.rna.add_new_sparse_ndarray(
            "feature_dataset_presence_matrix",
            type=pa.bool_(),
            shape=(n_datasets, len(self.genes)),
        )
        rows = [np.full(genes.sum(), number) for number, genes in self.present.items()]
        columns_ = [np.flatnonzero(genes) for genes in self.present.values()]
        presence.write(
            pa.table(
                {
                    "soma_dim_0": np.concatenate(rows).astype(np.int64),
                    "soma_dim_1": np.concatenate(columns_).astype(np.int64),
                    "soma_data": np.ones(sum(map(len, rows)), dtype=bool),
                }
            )
        )


def _in_global_order(counts: sp.csr_matrix, first_row: int) -> pa.Table:
    """Entries of X in the order of its tiles; the sort of TileDB is five times slower."""
    counts = counts.astype(np.float32)
    counts.sort_indices()
    row = np.repeat(np.arange(counts.shape[0], dtype=np.int64) + first_row, np.diff(counts.indptr))
    column = counts.indices.astype(np.int64)
    tile = row // TILE * (counts.shape[1] // TILE + 1) + column // TILE
    order = np.argsort(tile, kind="stable")
    return pa.table(
        {
            "soma_dim_0": row[order],
            "soma_dim_1": column[order],
            "soma_data": counts.data[order],
        }
    )


def _cell_statistics(counts: sp.csr_matrix, n_measured: int) -> dict[str, Any]:
    """Columns of `OBS_STATISTICS` of one study's cells; means and variances over non-zeros."""
    nnz = np.diff(counts.indptr)
    total = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    squares = np.asarray(counts.power(2).sum(axis=1, dtype=np.float64)).ravel()
    mean = total / np.maximum(nnz, 1)
    return {
        "raw_sum": total,
        "nnz": nnz.astype(np.int64),
        "raw_mean_nnz": mean,
        "raw_variance_nnz": (squares - nnz * mean**2) / np.maximum(nnz - 1, 1),
        "n_measured_vars": n_measured,
    }


def _cell_counts(obs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The table census_info/summary_cell_counts: cells by organism, category and label."""
    rows: list[tuple[str, str, str, str, int, int]] = []
    for organism, frame in obs.items():
        name = organism.capitalize().replace("_", " ")
        primary = frame["is_primary_data"]
        rows.append((name, "all", "na", "na", len(frame), int(primary.sum())))
        for column in COUNTED_COLUMNS:
            term = TERM_ID.format(column) if column in TERMS else column
            grouped = primary.groupby([frame[column], frame[term]]).agg(["size", "sum"])
            for (label, term_id), (total, unique) in zip(
                grouped.index, grouped.to_numpy(), strict=True
            ):
                if column not in TERMS:
                    term_id = "na"
                rows.append((name, column, label, term_id, int(total), int(unique)))
    columns = ["organism", "category", "label", "ontology_term_id"]
    return pd.DataFrame(rows, columns=[*columns, "total_cell_count", "unique_cell_count"])


def _summary(
    obs: Mapping[str, pd.DataFrame], release: str, further: Mapping[str, str]
) -> pd.DataFrame:
    statistics = has_statistics(release)
    values = {
        "census_schema_version": "1.2.0" if statistics else "1.0.0",
        "census_build_date": release,
        "dataset_schema_version": "3.1.0" if statistics else "3.0.0",
        "total_cell_count": str(sum(map(len, obs.values()))),
        "unique_cell_count": str(sum(int(f["is_primary_data"].sum()) for f in obs.values())),
    }
    for organism, frame in obs.items():
        donors = frame[["dataset_id", "donor_id"]].drop_duplicates()
        values[f"number_donors_{organism}"] = str(len(donors))
    return pd.DataFrame(list({**values, **further}.items()), columns=["label", "value"])


def _write_frame(
    parent: Any,
    key: str,
    frame: pd.DataFrame,
    columns: Mapping[str, pa.DataType] | None = None,
) -> None:
    """Adds a dataframe indexed by soma_joinid; without `columns`, all of them: text or int64."""
    if columns is None:
        columns = {
            str(column): pa.large_string() if values.dtype == object else pa.int64()
            for column, values in frame.items()
        }
    filters = {
        column: ["DictionaryFilter", _ZSTD] if kind == pa.large_string() else [_ZSTD]
        for column, kind in columns.items()
        if kind != pa.bool_()
    }
    schema = pa.schema({"soma_joinid": pa.int64(), **columns})
    table = pa.Table.from_pandas(
        frame.assign(soma_joinid=np.arange(len(frame))), schema=schema, preserve_index=False
    )
    attributes = {column: {"filters": pipeline} for column, pipeline in filters.items()}
    with parent.add_new_dataframe(
        key,
        schema=schema,
        index_column_names=["soma_joinid"],
        domain=[(0, max(len(frame) - 1, 0))],
        platform_config={"tiledb": {"create": {**_FRAME_CREATE, "attrs": attributes}}},
    ) as target:
        target.write(table)
