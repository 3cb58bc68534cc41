"""Writes releases in the format of the Census, for `cellxgene_census.open_soma(uri=…)`.

A release has the layout of the long-term release before it or of its own date, from census schema
1.0.0 to 2.4.0 (see `hce.census.layouts`), without X/normalized and without what is needed to serve
the data from S3. The root of spatial data is there where the schema has one, and empty.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.sparse as sp
import tiledbsoma
from tiledbsoma.options import TileDBWriteOptions

from hce.census.layouts import SPATIAL, TERM_ID, TERMS, TISSUE_TYPE, Layout, layout_of
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
    "10x 3' v4": "EFO:0022604",
    "10x 5' v3": "EFO:0022605",
    "10x multiome": "EFO:0030059",
    "Drop-seq": "EFO:0008722",
    "Smart-seq2": "EFO:0008931",
}

COUNTED_COLUMNS = (*TERMS, "suspension_type")

# Tiles and filters are those of the Census builder, except that zstd has level 5 everywhere: level
# 19 for the dimensions takes most of the writing time and saves little at this size.
TILE = 2048
# Cells of a study that are written at a time, because sorting takes several times their memory.
RUN_CELLS = 4 * TILE
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
        obs: one row per cell with columns of obs; missing ones become "unknown", a missing
            `is_primary_data` True and a missing `tissue_type` "tissue".
        counts: integer counts (cells, genes), csr, the genes in the order given to
            `write_census`.
        organism: such as HUMAN or MOUSE.
    """

    dataset_id: str
    title: str
    collection_id: str
    collection_name: str
    collection_doi: str
    obs: pd.DataFrame
    counts: sp.csr_matrix
    organism: str = HUMAN


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
        release: name of the build, which also decides the layout.
        studies: the studies; a fragment of X has up to `RUN_CELLS` cells of one.
        genes: organism → genes, columns feature_id, feature_name and feature_length (int, 0 if
            unknown).
        summary: further rows of census_info/summary, label → value.
    """
    layout = layout_of(release)
    root: Any
    with atomic_path(path) as temporary, tiledbsoma.Collection.create(str(temporary)) as root:
        info = root.add_new_collection("census_info")
        data = root.add_new_collection("census_data")
        writers: dict[str, _Organism] = {}
        datasets = []
        for number, study in enumerate(studies):
            if study.organism not in writers:
                experiment = data.add_new_collection(study.organism, tiledbsoma.Experiment)
                writers[study.organism] = _Organism(experiment, genes[study.organism], layout)
            writers[study.organism].add(number, study)
            datasets.append(_dataset_row(study, release, layout))
        for writer in writers.values():
            writer.finish(n_datasets=len(datasets))
        obs = {organism: writer.obs for organism, writer in writers.items()}
        _write_frame(info, "datasets", pd.DataFrame(datasets), layout.datasets())
        _write_frame(info, "summary_cell_counts", _cell_counts(obs))
        _write_frame(info, "summary", _summary(obs, release, layout, summary or {}))
        if layout.since("2.0.0"):
            _write_frame(info, "organisms", _organisms(obs))
        if layout.since("2.3.0"):
            root.add_new_collection(SPATIAL)
    logger.info(
        "Wrote release %s: %d studies, %s cells.",
        release,
        len(datasets),
        " + ".join(f"{len(frame)} {organism}" for organism, frame in obs.items()),
    )


def _dataset_row(study: Study, release: str, layout: Layout) -> dict[str, Any]:
    row = {
        "collection_id": study.collection_id,
        "collection_name": study.collection_name,
        "collection_doi": study.collection_doi,
        "collection_doi_label": study.collection_name,
        "citation": f"{study.collection_name} {study.collection_doi}",
        "dataset_id": study.dataset_id,
        "dataset_version_id": f"{study.dataset_id}-{release}",
        "dataset_title": study.title,
        "dataset_h5ad_path": f"{study.dataset_id}.h5ad",
        "dataset_total_cell_count": study.counts.shape[0],
    }
    return {name: row[name] for name in layout.datasets()}


@dataclass
class _Organism:
    """The experiment of one organism, to which studies are appended."""

    experiment: tiledbsoma.Experiment
    genes: pd.DataFrame
    layout: Layout
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
        per_gene = np.zeros(len(self.genes), dtype=np.int64)
        statistics = []
        with tiledbsoma.SparseNDArray.open(self.raw, "w") as raw:
            for first, last in pairwise(_bounds(self.n_cells, n_cells)):
                run = counts[first - self.n_cells : last - self.n_cells]
                raw.write(
                    _in_global_order(run, first),
                    platform_config=TileDBWriteOptions(sort_coords=False),
                )
                per_gene += run.getnnz(axis=0)
                statistics.append(_cell_statistics(run))
        self.nnz += per_gene
        self.present[number] = per_gene > 0
        self.n_measured[self.present[number]] += counts.shape[0]
        obs = study.obs.reset_index(drop=True).assign(dataset_id=study.dataset_id)
        missing = self.layout.obs().keys() - set(obs.columns)
        filled: dict[str, Any] = {"is_primary_data": True, TISSUE_TYPE: "tissue"}
        obs = obs.assign(**{column: filled.get(column, "unknown") for column in missing})
        if self.layout.since("1.1.0"):
            columns = pd.concat(statistics, ignore_index=True)
            obs = obs.assign(**columns, n_measured_vars=int(self.present[number].sum()))
        self.frames.append(obs)
        self.n_cells = n_cells

    def finish(self, n_datasets: int) -> None:
        """Writes what is known only after all studies have been added."""
        self.obs = pd.concat(self.frames, ignore_index=True)
        self.frames.clear()
        var = self.genes.reset_index(drop=True)
        var = var.assign(nnz=self.nnz, n_measured_obs=self.n_measured, feature_type="unknown")
        _write_frame(self.experiment, "obs", self.obs, self.layout.obs())
        _write_frame(self.rna, "var", var, self.layout.var())
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


def _bounds(first: int, last: int) -> list[int]:
    """Where the runs of a study's cells begin and end, in rows of X; they end with row tiles."""
    return [first, *range((first // RUN_CELLS + 1) * RUN_CELLS, last, RUN_CELLS), last]


def _cell_statistics(counts: sp.csr_matrix) -> pd.DataFrame:
    """The computed columns of obs of some cells; means and variances over non-zeros."""
    nnz = np.diff(counts.indptr)
    total = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    squares = np.asarray(counts.power(2).sum(axis=1, dtype=np.float64)).ravel()
    mean = total / np.maximum(nnz, 1)
    return pd.DataFrame(
        {
            "raw_sum": total,
            "nnz": nnz.astype(np.int64),
            "raw_mean_nnz": mean,
            "raw_variance_nnz": (squares - nnz * mean**2) / np.maximum(nnz - 1, 1),
        }
    )


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
    obs: Mapping[str, pd.DataFrame], release: str, layout: Layout, further: Mapping[str, str]
) -> pd.DataFrame:
    values = {
        "census_schema_version": layout.schema,
        "census_build_date": release,
        "dataset_schema_version": layout.dataset_schema,
        "total_cell_count": str(sum(map(len, obs.values()))),
        "unique_cell_count": str(sum(int(f["is_primary_data"].sum()) for f in obs.values())),
    }
    for organism, frame in obs.items() if not layout.since("2.4.0") else ():
        donors = frame[["dataset_id", "donor_id"]].drop_duplicates()
        values[f"number_donors_{organism}"] = str(len(donors))
    return pd.DataFrame(list({**values, **further}.items()), columns=["label", "value"])


def _organisms(obs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The table census_info/organisms; terms of the taxonomy are not known here."""
    labels = [organism.capitalize().replace("_", " ") for organism in obs]
    return pd.DataFrame(
        {"organism_ontology_term_id": "unknown", "organism_label": labels, "organism": list(obs)}
    )


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
        # Of a dictionary, TileDB filters the numbers.
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
        uri = target.uri
    # Opened again by itself: written as a member, at the time of its parent, the values of
    # dictionaries are lost.
    with tiledbsoma.DataFrame.open(uri, "w") as target:
        target.write(table)
