"""What releases of the Census hold, by the version of the census schema.

Columns and tables follow the schema document and its list of changes,
https://github.com/chanzuckerberg/cellxgene-census/blob/main/docs/cellxgene_census_schema.md (at
2.4.0). What it leaves out follows the builder's code in the same repository: which strings are
dictionaries (since 2.0.0), and the column feature_type of var, which came between 2.0.1 and the
release of 2.1.0. Releases and their schemas: that code's history, and the long-term releases that
the project's site lists. `X/normalized` (since 1.1.0) is neither read nor written here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

# Labels, each of which has a column of ontology terms beside it.
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
# Since schema 1.3: tissue, organoid or cell culture. Before, there were tissues alone.
TISSUE_TYPE = "tissue_type"
SPATIAL = "census_spatial_sequencing"
_WORDS = (
    *("dataset_id", "donor_id", "suspension_type"),
    *(column for term in TERMS for column in (term, TERM_ID.format(term))),
)
# Table → column → the schema that added it, and its type without dictionaries.
_OBS = {
    **{column: ("1.0.0", pa.large_string()) for column in _WORDS},
    "is_primary_data": ("1.0.0", pa.bool_()),
    "raw_sum": ("1.1.0", pa.float64()),
    "nnz": ("1.1.0", pa.int64()),
    "raw_mean_nnz": ("1.1.0", pa.float64()),
    "raw_variance_nnz": ("1.1.0", pa.float64()),
    "n_measured_vars": ("1.1.0", pa.int64()),
    TISSUE_TYPE: ("1.3.0", pa.large_string()),
    "observation_joinid": ("1.3.0", pa.large_string()),
}
_VAR = {
    "feature_id": ("1.0.0", pa.large_string()),
    "feature_name": ("1.0.0", pa.large_string()),
    "feature_length": ("1.0.0", pa.int64()),
    "nnz": ("1.1.0", pa.int64()),
    "n_measured_obs": ("1.1.0", pa.int64()),
    "feature_type": ("2.1.0", pa.large_string()),
}
_DATASETS = {
    "collection_id": ("1.0.0", pa.large_string()),
    "collection_name": ("1.0.0", pa.large_string()),
    "collection_doi": ("1.0.0", pa.large_string()),
    "dataset_id": ("1.0.0", pa.large_string()),
    "dataset_title": ("1.0.0", pa.large_string()),
    "dataset_h5ad_path": ("1.0.0", pa.large_string()),
    "dataset_total_cell_count": ("1.0.0", pa.int64()),
    "dataset_version_id": ("1.1.0", pa.large_string()),
    "citation": ("1.3.0", pa.large_string()),
    "collection_doi_label": ("2.1.0", pa.large_string()),
}
# Strings that stay plain, since nearly every row has its own.
_PLAIN = ("observation_joinid",)
# Long-term release → its census schema and the dataset schema of its studies.
SCHEMAS = {
    "2023-05-15": ("1.0.0", "3.0.0"),
    "2023-12-15": ("1.2.0", "3.1.0"),
    "2024-07-01": ("2.0.1", "5.0.0"),
    "2025-01-30": ("2.1.0", "5.2.0"),
    "2025-11-08": ("2.4.0", "7.0.0"),
}
NEWEST = SCHEMAS["2025-11-08"][0]


@dataclass(frozen=True)
class Layout:
    """What a release holds.

    Attributes:
        schema: version of the census schema.
        dataset_schema: version of the schema of its studies.
    """

    schema: str
    dataset_schema: str

    def since(self, version: str) -> bool:
        """Whether the census schema is this version or a later one."""
        return _numbers(self.schema) >= _numbers(version)

    def obs(self) -> dict[str, pa.DataType]:
        """Columns of obs and their types, without soma_joinid."""
        columns = self._columns(_OBS)
        if not self.since("2.0.0"):
            return columns
        return {
            name: pa.dictionary(pa.int32(), kind)
            if kind == pa.large_string() and name not in _PLAIN
            else kind
            for name, kind in columns.items()
        }

    def var(self) -> dict[str, pa.DataType]:
        """Columns of var and their types, without soma_joinid."""
        return self._columns(_VAR)

    def datasets(self) -> dict[str, pa.DataType]:
        """Columns of census_info/datasets and their types, without soma_joinid."""
        return self._columns(_DATASETS)

    def _columns(self, table: dict[str, tuple[str, pa.DataType]]) -> dict[str, pa.DataType]:
        return {name: kind for name, (version, kind) in table.items() if self.since(version)}


def layout_of(release: str) -> Layout:
    """The layout of a release: that of the last long-term release that is not later."""
    name = max((name for name in SCHEMAS if name <= release), default=min(SCHEMAS))
    return Layout(*SCHEMAS[name])


def what_is_unknown(release: str, schema: str | None, obs: Iterable[str]) -> str | None:
    """What a release has that is not known here, in a sentence; None if it is known.

    Args:
        release: its name.
        schema: its census schema, None if it does not say it.
        obs: its columns of obs.
    """
    if schema is None or _numbers(schema) <= _numbers(NEWEST):
        return None
    new = sorted(set(obs) - {"soma_joinid", *_OBS})
    columns = "no column of obs is new"
    if new:
        columns = f"its columns of obs {', '.join(new)} are not known and not read"
    return (
        f"Release {release} has census schema {schema}, and {NEWEST} is the newest that is known "
        f"here: {columns}; all other columns are taken to mean what they mean in {NEWEST}."
    )


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version; what is not a number counts as 0."""
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))
