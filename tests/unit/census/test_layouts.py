"""Releases in the layouts of the five long-term releases, against what the Census client gives."""

from dataclasses import replace

import cellxgene_census
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
import tiledbsoma

from hce.census.counts import read_cells as read_counts
from hce.census.layouts import NEWEST, SCHEMAS, layout_of, what_is_unknown
from hce.census.release import (
    open_release,
    positions_of_genes,
    read_cells,
    read_genes,
    read_summary,
    unknown_in,
)
from hce.curation.cells import read_release_cells
from hce.curation.select import select_genes, select_new_studies
from hce.sources.soma import HUMAN, MOUSE, Study, write_census

ASSAYS = ["10x 3' v3", "10x 3' v4"]
N_GENES = 40
# The names of genes 7 and 8 are the same, as those of a few are since schema 2.4.
GENES = pd.DataFrame(
    {
        "feature_id": [f"ENSG{i:011d}" for i in range(N_GENES)],
        "feature_name": [f"GENE{7 if i == 8 else i}" for i in range(N_GENES)],
        "feature_length": 1000,
    }
)
TYPES = pd.DataFrame(
    {"cl_id": ["CL:0000236", "CL:0000084"], "label": ["B cell", "T cell"]},
)
MARMOSET = "callithrix_jacchus"


def study(name: str, seed: int, organism: str = HUMAN, **obs) -> Study:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(40, 80))
    table = pd.DataFrame(
        {
            "assay": rng.choice([*ASSAYS, "Smart-seq2"], n),
            "cell_type": rng.choice(["B cell", "T cell", "neuron"], n),
            "donor_id": rng.choice(["d1", "d2"], n),
            "is_primary_data": rng.random(n) < 0.7,
            "tissue": "blood",
            "tissue_general": "blood",
            "disease": rng.choice(["normal", "asthma || obesity"], n),
            "observation_joinid": [f"{name}{i}" for i in range(n)],
        }
    )
    terms = {"B cell": "CL:0000236", "T cell": "CL:0000084", "neuron": "CL:0000540"}
    table["cell_type_ontology_term_id"] = table["cell_type"].map(terms)
    counts = sp.random(n, N_GENES, 0.3, format="csr", rng=rng).astype(np.float32)
    counts.data = rng.integers(1, 400, counts.nnz).astype(np.float32)
    return Study(name, name, "c", "Collection", "", table.assign(**obs), counts, organism)


def renamed(some: Study) -> Study:
    """The study with the label that T cells have in a later release."""
    return replace(some, obs=some.obs.replace({"cell_type": {"T cell": "T lymphocyte"}}))


@pytest.fixture(scope="module", params=SCHEMAS)
def release(request, tmp_path_factory):
    """Name and address of a release with mice, marmosets, organoids and a renamed label."""
    name = request.param
    path = tmp_path_factory.mktemp("census") / name
    studies = [
        study("old", 0),
        study("mouse", 1, MOUSE),
        study("marmoset", 2, MARMOSET),
        study("organoid", 3, tissue_type="organoid"),
        renamed(study("new", 4)),
    ]
    write_census(path, name, studies, dict.fromkeys((HUMAN, MOUSE, MARMOSET), GENES))
    return name, str(path)


@pytest.fixture
def cells(release, tmp_path):
    """The cells of the release as they are read."""
    name, uri = release
    with open_release(name, uri) as opened:
        read_cells(opened, ASSAYS, tmp_path / "cells.parquet")
    return read_release_cells(tmp_path / "cells.parquet")


def filter_of(name: str) -> str:
    """The rows to keep, for the client."""
    tissue = " and tissue_type == 'tissue'" if layout_of(name).since("1.3.0") else ""
    return f"is_primary_data == True and assay in {ASSAYS}{tissue}"


def by_hand(name: str, uri: str) -> pd.DataFrame:
    """The cells to keep as the client gives them, in order of soma_joinid."""
    with cellxgene_census.open_soma(uri=uri) as census:
        cells = cellxgene_census.get_obs(census, "homo_sapiens", value_filter=filter_of(name))
    return cells.sort_values("soma_joinid", ignore_index=True)


def test_the_cells_are_row_by_row_those_that_the_client_gives(release, cells):
    name, uri = release
    wanted = by_hand(name, uri)
    assert len(wanted) > 30
    words = dict.fromkeys(list(cells)[1:], str)
    pd.testing.assert_frame_equal(cells.astype(words), wanted[list(cells)].astype(words))
    assert ("organoid" in set(cells["dataset_id"])) == (not layout_of(name).since("1.3.0"))


def test_the_set_of_new_studies_is_that_of_the_clients_rows_by_label_and_by_id(release, cells):
    name, uri = release
    rows = by_hand(name, uri)
    rows = rows[rows["dataset_id"] != "old"]
    for match, column in (("label", "cell_type"), ("cl_id", "cell_type_ontology_term_id")):
        wanted = rows[rows[column].isin(TYPES[match])]
        found, _ = select_new_studies(cells, ["old"], TYPES, "ood", match)
        assert found["soma_joinid"].tolist() == wanted["soma_joinid"].tolist()
        assert TYPES[match].iloc[found["label"]].tolist() == wanted[column].astype(str).tolist()


def test_the_counts_are_those_of_the_client_also_of_genes_that_share_a_name(release):
    name, uri = release
    with open_release(name, uri) as opened:
        release_genes = read_genes(opened)
    genes = select_genes(release_genes, ["GENE20", "GENE7", "GENE3"], 0.5)
    assert genes["feature_id"].tolist() == [GENES["feature_id"][i] for i in (3, 7, 8, 20)]
    positions = positions_of_genes(genes.iloc[::-1], release_genes, name, 0.5)
    assert positions.tolist() == [20, 8, 7, 3]
    cells = by_hand(name, uri)["soma_joinid"].to_numpy()
    counts = read_counts(name, uri, genes, cells)
    found = sp.csr_matrix((counts.values, counts.genes, counts.indptr), (len(cells), 4))
    with cellxgene_census.open_soma(uri=uri) as census:
        wanted = cellxgene_census.get_anndata(
            census, "Homo sapiens", obs_coords=cells.tolist(), var_coords=[3, 7, 8, 20]
        )
    assert wanted.var["feature_id"].tolist() == genes["feature_id"].tolist()
    np.testing.assert_array_equal(found.toarray(), wanted.X.toarray())


def test_a_release_has_the_columns_and_tables_of_its_schema(release):
    name, uri = release
    layout = layout_of(name)
    with tiledbsoma.open(uri) as census, open_release(name, uri) as opened:
        assert read_summary(opened)["census_schema_version"] == layout.schema
        obs = census["census_data"][HUMAN].obs.schema
        assert set(obs.names) == {"soma_joinid", *layout.obs()}
        assert pa.types.is_dictionary(obs.field("assay").type) == layout.since("2.0.0")
        var = census["census_data"][HUMAN].ms["RNA"].var.schema
        assert set(var.names) == {"soma_joinid", *layout.var()}
        assert ("census_spatial_sequencing" in census) == layout.since("2.3.0")
        assert ("organisms" in census["census_info"]) == layout.since("2.0.0")
        assert unknown_in(opened) is None


def test_columns_came_with_the_schemas_that_the_list_of_changes_names():
    columns = {name: set(layout_of(name).obs()) for name in SCHEMAS}
    assert len(columns["2023-05-15"]) == 20
    assert columns["2023-12-15"] - columns["2023-05-15"] == {
        *("raw_sum", "nnz", "raw_mean_nnz", "raw_variance_nnz", "n_measured_vars")
    }
    assert columns["2024-07-01"] - columns["2023-12-15"] == {"tissue_type", "observation_joinid"}
    assert columns["2025-11-08"] == columns["2024-07-01"]
    datasets = {name: set(layout_of(name).datasets()) for name in SCHEMAS}
    assert "dataset_version_id" not in datasets["2023-05-15"]
    assert datasets["2025-01-30"] - datasets["2024-07-01"] == {"collection_doi_label"}
    assert "feature_type" in layout_of("2025-11-08").var()


@pytest.mark.parametrize(
    ("release", "schema"),
    [("2022-01-01", "1.0.0"), ("2023-12-14", "1.0.0"), ("2024-07-01", "2.0.1"), ("2030", "2.4.0")],
)
def test_other_releases_have_the_layout_of_the_long_term_release_before(release, schema):
    assert layout_of(release).schema == schema


def test_a_newer_schema_is_told_with_its_new_columns_and_what_is_assumed():
    obs = [*layout_of("2025-11-08").obs(), "soma_joinid", "age", "batch"]
    told = what_is_unknown("2027-05-01", "3.10.0", obs)
    assert told == (
        "Release 2027-05-01 has census schema 3.10.0, and 2.4.0 is the newest that is known here: "
        "its columns of obs age, batch are not known and not read; all other columns are taken to "
        "mean what they mean in 2.4.0."
    )
    assert "no column of obs is new" in what_is_unknown("2027-05-01", "2.4.1", obs[:-2])
    for known in ("1.0.0", NEWEST, None):
        assert what_is_unknown("2027-05-01", known, obs) is None
