"""Opens CELLxGENE Census releases and reads their tables of cells and genes.

A release is given by its build name, or by the URI of any SOMA in the same format. Layout and
schemas: https://chanzuckerberg.github.io/cellxgene-census/cellxgene_census_docsite_schema.html
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cellxgene_census
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hce.census.assays import AssayCounts
from hce.census.labels import LabelCounts
from hce.census.layouts import TISSUE_TYPE, what_is_unknown
from hce.census.retry import READ_ERRORS, Connection, find_build, first_line, read_again, try_again
from hce.errors import UserError
from hce.files import atomic_path
from hce.inputs.genes import match_genes
from hce.jobs.machine import own_cores, reuse_memory

logger = logging.getLogger(__name__)

ORGANISM = "homo_sapiens"
OBS_COLUMNS = (
    "dataset_id",
    "donor_id",
    "assay",
    "cell_type",
    "cell_type_ontology_term_id",
    "tissue",
    "tissue_general",
    "disease",
)
GENE_COLUMNS = ("feature_id", "feature_name")
DATASET_COLUMNS = ("dataset_id", "dataset_title", "collection_id", "collection_name")
# Rows of a dataframe read at a time.
ROWS = 500_000
# Memory that TileDB frees is reused for the next slab and not returned after every query, because
# getting it from the system takes as long as decompressing. Larger buffers are therefore no help.
MEMORY = {"soma.init_buffer_bytes": str(8 * 1024**2), "sm.mem.malloc_trim": "false"}


@dataclass(frozen=True)
class Release:
    """An open release.

    Attributes:
        name: its build name.
        root: the SOMA collection.
        connection: settings of the connection.
    """

    name: str
    root: Any
    connection: Connection = field(default_factory=Connection)

    @property
    def uri(self) -> str:
        """Address of the release."""
        return str(self.root.uri)

    def part(self, *path: str) -> Any:
        """A member of the release, such as `part("census_data", "homo_sapiens", "obs")`.

        Raises:
            UserError: the SOMA has no such member, or it cannot be read.
        """

        def find(_: int) -> Any:
            node = self.root
            for key in path:
                node = node[key]
            return node

        name = "/".join(path)
        try:
            return try_again(find, name, self.uri, self.connection)
        except (KeyError, AttributeError, TypeError) as error:
            raise UserError(
                f"{self.uri} is not in the format of a Census: it has no {name}."
            ) from error


@contextmanager
def open_release(
    name: str, uri: str | None = None, connection: Connection | None = None
) -> Iterator[Release]:
    """Opens a release for reading.

    Args:
        name: build name, for example "2023-05-15".
        uri: address of a SOMA to open instead of the named build.
        connection: settings of the connection.

    Raises:
        UserError: there is no such build, or nothing can be opened at the URI.
    """
    connection = connection or Connection()
    reuse_memory()
    settings = MEMORY | _threads(own_cores()) | connection.settings()
    if uri is None:
        uri, region = find_build(name, connection)
        settings |= {"vfs.s3.region": region} if region else {}
    try:
        context = cellxgene_census.get_default_soma_context(tiledb_config=settings)
        root = cellxgene_census.open_soma(uri=uri, context=context)
    except (ValueError, *READ_ERRORS) as error:
        raise UserError(
            f"Cannot open {uri} (release {name}) as a Census: {first_line(error)}. Check "
            "data.reference and data.new in the config, data.connection for a proxy, and the "
            "network."
        ) from error
    with root:
        yield Release(name, root, connection)


def _threads(cores: int) -> dict[str, str]:
    """TileDB's threads; it would start one per core of the machine, which then stand in the way.

    Requests over a network wait more than they compute: a few of them at a time also on one core.
    """
    return {
        "sm.compute_concurrency_level": str(cores),
        "sm.io_concurrency_level": str(max(cores, 4)),
    }


def _read(release: Release, path: Sequence[str], columns: Sequence[str]) -> Iterator[pa.Table]:
    """Streams columns of one of the release's dataframes, in ranges of soma_joinid."""
    frame = release.part(*path)
    missing = [column for column in columns if column not in frame.schema.names]
    if missing:
        raise UserError(f"{frame.uri} lacks the column {missing[0]}: it is not a Census dataframe.")
    names = ["soma_joinid", *columns]
    ((first, last),) = frame.non_empty_domain()
    for start in range(first, last + 1, ROWS):
        span = slice(start, min(start + ROWS - 1, last))

        def read(node: Any, span: slice = span) -> pa.Table:
            return node.read(coords=(span,), column_names=names).concat()

        table, frame = read_again(
            frame, read, f"rows {span.start} to {span.stop}", release.connection
        )
        yield table


def read_obs(release: Release, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Streams soma_joinid and columns of the human cells of a release."""
    return _read(release, ("census_data", ORGANISM, "obs"), columns)


def _as_dictionary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Strings as a dictionary; a release stores them plain (2023) or encoded (later)."""
    column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], pa.string())
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.string()).dictionary_encode()


def _is_one_of(column: pa.ChunkedArray, values: Sequence[str]) -> pa.Array:
    """Whether each string, plain or of a dictionary, is one of these values; bool."""
    return pc.is_in(_as_dictionary(column).dictionary_decode(), pa.array(values, pa.string()))


def check_complete(obs: pa.Table, columns: Sequence[str], uri: str) -> None:
    """Checks that no values of cells are missing, because later stages count by them.

    Raises:
        UserError: values are missing; the message gives the column and their number.
    """
    for name in columns:
        if missing := obs[name].null_count:
            raise UserError(
                f"{uri} has {missing:,} cells without {name}: give each cell of obs its {name}."
            )


def read_cells(
    release: Release,
    assays: Sequence[str],
    path: str | Path,
    tissue_types: Sequence[str] = ("tissue",),
    labels: LabelCounts | None = None,
    counted: AssayCounts | None = None,
) -> dict[str, int]:
    """Writes the primary cells of the given assays to a Parquet file, in order of soma_joinid.

    Streams: memory does not grow with the release.

    Args:
        release: the open release.
        assays: labels of the assays to keep.
        path: the file; columns soma_joinid and `OBS_COLUMNS` (dictionary-encoded strings).
        tissue_types: the tissue types to keep, in a release that has them.
        labels: counts, in the same pass, the labels of all cells, primary or not and of any assay.
        counted: counts the assays of the primary cells of these tissue types.

    Returns:
        Number of cells after each filter: "all", "primary", "tissues" (primary, of these tissue
        types; only of a release that has them), "assays" (after all filters).

    Raises:
        UserError: a column is missing, no cell passes, or a value is missing in a cell.
    """
    obs = ("census_data", ORGANISM, "obs")
    typed = [TISSUE_TYPE] if TISSUE_TYPE in release.part(*obs).schema.names else []
    steps = dict.fromkeys(("all", "primary", *(["tissues"] if typed else []), "assays"), 0)
    schema = pa.schema(
        [("soma_joinid", pa.int64())]
        + [(name, pa.dictionary(pa.int32(), pa.string())) for name in OBS_COLUMNS]
    )
    last = -1
    with atomic_path(path) as temporary:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            columns = [*OBS_COLUMNS, "is_primary_data", *typed]
            for table in _read(release, obs, columns):
                steps["all"] += len(table)
                if labels is not None:
                    labels.add(table, release.uri)
                check_complete(table, ("is_primary_data",), release.uri)
                table = table.filter(table["is_primary_data"])
                steps["primary"] += len(table)
                check_complete(table, ("dataset_id", "assay", *typed), release.uri)
                if typed:
                    table = table.filter(_is_one_of(table[TISSUE_TYPE], tissue_types))
                    steps["tissues"] += len(table)
                if counted is not None:
                    counted.add(table)
                encoded = {name: _as_dictionary(table[name]) for name in OBS_COLUMNS}
                keep = _is_one_of(table["assay"], assays)
                table = pa.table({"soma_joinid": table["soma_joinid"], **encoded}).filter(keep)
                check_complete(table, OBS_COLUMNS, release.uri)
                table = table.cast(schema).sort_by("soma_joinid")
                if len(table):
                    if table["soma_joinid"][0].as_py() <= last:
                        raise UserError(f"{release.uri}: obs is not sorted by soma_joinid.")
                    last = table["soma_joinid"][-1].as_py()
                    writer.write_table(table)
                steps["assays"] += len(table)
        if steps["assays"] == 0:
            raise UserError(
                f"{release.uri} has no primary cells of the assays in curation.assays "
                f"({steps['primary']:,} primary cells of other assays or tissue types)."
            )
    return steps


def read_genes(release: Release) -> pd.DataFrame:
    """The genes of a release: soma_joinid, feature_id, feature_name, in order of soma_joinid."""
    path = ("census_data", ORGANISM, "ms", "RNA", "var")
    table = pa.concat_tables(_read(release, path, GENE_COLUMNS)).to_pandas()
    return table.astype({"feature_id": str, "feature_name": str}).sort_values("soma_joinid")


def unknown_in(release: Release) -> str | None:
    """What a release newer than those known here has that is not known; None for others."""
    obs = release.part("census_data", ORGANISM, "obs").schema.names
    return what_is_unknown(release.name, read_summary(release).get("census_schema_version"), obs)


def read_datasets(release: Release) -> pd.DataFrame:
    """The datasets (studies) in the census_info of a release."""
    table = pa.concat_tables(_read(release, ("census_info", "datasets"), DATASET_COLUMNS))
    return table.to_pandas().sort_values("soma_joinid", ignore_index=True)


def read_summary(release: Release) -> dict[str, str]:
    """The release's own description: schema version, build date, counts."""
    frame = pa.concat_tables(_read(release, ("census_info", "summary"), ("label", "value")))
    return dict(zip(frame["label"].to_pylist(), frame["value"].to_pylist(), strict=True))


def positions_of_genes(
    genes: pd.DataFrame, release_genes: pd.DataFrame, release: str, min_share: float
) -> np.ndarray:
    """Finds the models' genes in a release, by feature_id without versions.

    Args:
        genes: the models' genes (feature_id, feature_name), in column order.
        release_genes: the release's genes (soma_joinid, feature_id, feature_name).
        release: its name, for messages.
        min_share: minimum share of the genes that the release must have.

    Returns:
        int64 (genes,): soma_joinid of each, −1 if the release lacks the gene. Such genes count as
        not expressed; their number is logged.

    Raises:
        UserError: the release has fewer of the genes; the message says what seems to be wrong.
    """
    match = match_genes(
        release_genes, genes, f"Release {release}", min_share=min_share, by_name=False
    )
    positions = np.full(len(genes), -1, dtype=np.int64)
    held = match.gene_of >= 0
    positions[match.gene_of[held]] = release_genes["soma_joinid"].to_numpy()[held]
    if match.missing:
        logger.warning("release %s: %s", release, match.report())
    return positions


def write_release_info(
    release: Release,
    steps: Mapping[str, int],
    folder: str | Path,
    left_out: pd.DataFrame | None = None,
    newer: Mapping[str, int] | None = None,
) -> None:
    """Writes the metadata of a release that later stages need.

    Creates `genes.parquet`, `datasets.parquet` and `release.json` (uri, summary, the number of
    cells after each filter of `read_cells`, the studies that `AssayCounts.left_out` names, and the
    cells of newer assays that are left out) in the folder.
    """
    folder = Path(folder)
    for name, table in (("genes", read_genes(release)), ("datasets", read_datasets(release))):
        with atomic_path(folder / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    description = {
        "release": release.name,
        "uri": release.uri,
        "summary": read_summary(release),
        "cells": dict(steps),
        "left_out": [] if left_out is None else left_out.to_dict("records"),
        "newer_assays": dict(newer or {}),
    }
    with atomic_path(folder / "release.json") as temporary:
        temporary.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
