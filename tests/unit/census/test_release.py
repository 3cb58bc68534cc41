from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
import tiledbsoma

from hce.census import counts as census_counts
from hce.census import release as release_module
from hce.census.assays import AssayCounts, warn_left_out
from hce.census.counts import CountsReader
from hce.census.labels import LabelCounts
from hce.census.release import (
    open_release,
    positions_of_genes,
    read_cells,
    read_datasets,
    read_genes,
    read_summary,
    write_release_info,
)
from hce.curation.report import gather_report
from hce.errors import UserError
from hce.sources.soma import MOUSE, Study, write_census

N_GENES = 50
GENES = pd.DataFrame(
    {
        "feature_id": [f"ENSG{i:03d}" for i in range(N_GENES)],
        "feature_name": [f"GENE{i}" for i in range(N_GENES)],
        "feature_length": 1000,
    }
)


def study(name: str, n: int, seed: int, assay: str = "10x 3' v2", **extra) -> Study:
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame(
        {
            "assay": [assay] * n,
            "cell_type": "T cell",
            "cell_type_ontology_term_id": "CL:0000084",
            "donor_id": [f"donor{i % 3}" for i in range(n)],
            "is_primary_data": [i % 4 != 0 for i in range(n)],
            "tissue": "blood",
            "tissue_general": "blood",
            "disease": "normal",
        }
    )
    counts = sp.random(n, N_GENES, 0.3, format="csr", rng=rng).astype(np.float32)
    counts.data = rng.integers(1, 400, counts.nnz).astype(np.float32)
    return Study(name, f"Study {name}", "c", "Collection", "", obs, counts, **extra)


@pytest.fixture(scope="module")
def studies():
    return [
        study("a", 120, 0),
        study("m", 15, 1, organism=MOUSE),
        study("b", 80, 2, assay="Smart-seq2"),
        study("c", 100, 3, assay="10x 5' v1"),
    ]


@pytest.fixture(scope="module")
def uri(studies, tmp_path_factory):
    path = tmp_path_factory.mktemp("census") / "2023-05-15"
    write_census(path, "2023-05-15", studies, {"homo_sapiens": GENES, MOUSE: GENES})
    return str(path)


@pytest.fixture
def release(uri):
    with open_release("2023-05-15", uri) as opened:
        yield opened


def test_cells_are_the_primary_human_ones_of_the_assays(release, tmp_path):
    steps = read_cells(release, ["10x 3' v2", "10x 5' v1"], tmp_path / "cells.parquet")
    assert steps == {"all": 300, "primary": 225, "assays": 165}
    table = pq.read_table(tmp_path / "cells.parquet").to_pandas()
    expected = [i for i in range(300) if not 120 <= i < 200 and _position(i) % 4 != 0]
    assert table["soma_joinid"].tolist() == expected
    assert set(table["dataset_id"]) == {"a", "c"}


def test_organoids_and_cultures_of_later_releases_are_left_out(studies, tmp_path):
    organoid = replace(studies[-1], obs=studies[-1].obs.assign(tissue_type="organoid"))
    uri = str(tmp_path / "2024-07-01")
    later = [*studies[:-1], organoid]
    write_census(uri, "2024-07-01", later, {"homo_sapiens": GENES, MOUSE: GENES})
    assays = ["10x 3' v2", "10x 5' v1"]

    def kept(*more):
        with open_release("2024-07-01", uri) as release:
            steps = read_cells(release, assays, tmp_path / "cells.parquet", *more)
        return steps, set(pq.read_table(tmp_path / "cells.parquet")["dataset_id"].to_pylist())

    tissues = {"all": 300, "primary": 225, "tissues": 150, "assays": 90}
    assert kept() == (tissues, {"a"})
    everything = {"all": 300, "primary": 225, "tissues": 225, "assays": 165}
    assert kept(["tissue", "organoid"]) == (everything, {"a", "c"})


def test_labels_are_counted_of_all_human_cells_of_any_assay(release, tmp_path, monkeypatch):
    monkeypatch.setattr(release_module, "ROWS", 70)
    labels = LabelCounts()
    read_cells(release, ["10x 3' v2"], tmp_path / "cells.parquet", labels=labels)
    found = labels.table()
    assert found["study"].tolist() == ["a", "b", "c"]
    assert found["cells"].tolist() == [120, 80, 100]
    assert set(found["cl_id"]) == {"CL:0000084"}
    assert set(found["label"]) == {"T cell"}


@pytest.mark.parametrize("column", ["is_primary_data", "assay", "cell_type", "donor_id"])
def test_a_value_that_is_missing_is_named_with_its_column(column, release, tmp_path, monkeypatch):
    read = release_module._read
    kind = pa.bool_() if column == "is_primary_data" else pa.string()

    def with_a_gap(release, path, columns):
        for table in read(release, path, columns):
            values = table[column].to_pylist()
            values[7] = None
            place = table.schema.get_field_index(column)
            yield table.set_column(place, column, pa.array(values, kind))

    monkeypatch.setattr(release_module, "_read", with_a_gap)
    with pytest.raises(UserError, match=f"has 1 cells without {column}"):
        read_cells(release, ["10x 3' v2", "10x 5' v1"], tmp_path / "cells.parquet")
    assert list(tmp_path.iterdir()) == []


def _position(joinid: int) -> int:
    """Position of a cell within its study (studies of 120, 80 and 100 human cells)."""
    return joinid if joinid < 120 else joinid - 120 if joinid < 200 else joinid - 200


def test_no_cell_of_the_assays_is_an_error_and_leaves_no_file(release, tmp_path):
    with pytest.raises(UserError, match=r"no primary cells of the assays in curation\.assays"):
        read_cells(release, ["CEL-seq"], tmp_path / "cells.parquet")
    assert list(tmp_path.iterdir()) == []


def test_genes_datasets_and_summary_come_from_the_release(release, tmp_path):
    assert read_genes(release)["feature_name"].tolist() == GENES["feature_name"].tolist()
    assert read_datasets(release)["dataset_id"].tolist() == ["a", "m", "b", "c"]
    assert read_summary(release)["census_build_date"] == "2023-05-15"
    write_release_info(release, {"all": 1}, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "genes.parquet",
        "datasets.parquet",
        "release.json",
    }


@pytest.mark.parametrize("slab", [16, 8192])
def test_streamed_counts_equal_what_was_written_for_any_cells_and_gene_order(
    release, studies, monkeypatch, slab
):
    monkeypatch.setattr(census_counts, "SLAB", slab)
    rng = np.random.default_rng(0)
    genes = rng.permutation(N_GENES)[:37]
    cells = np.sort(rng.choice(300, 140, replace=False))
    truth = sp.vstack([s.counts for s in studies if s.organism != MOUSE]).toarray()
    found_cells, found = [], []
    for ids, counts in CountsReader(release, genes).blocks(cells):
        found_cells.append(ids)
        matrix = sp.csr_matrix((counts.values, counts.genes, counts.indptr), (len(ids), 37))
        assert matrix.has_sorted_indices
        found.append(matrix.toarray())
    assert (np.concatenate(found_cells) == cells).all()
    assert (np.concatenate(found) == truth[cells][:, genes]).all()


@pytest.mark.parametrize(
    ("cells", "span"), [([18, 30], (16, 31)), ([18, 20], (18, 20)), ([288, 299], (288, 299))]
)
def test_a_tile_is_read_whole_where_most_of_it_is_needed(release, monkeypatch, cells, span):
    monkeypatch.setattr(census_counts, "SLAB", 16)
    assert CountsReader(release, np.arange(N_GENES))._span(np.array(cells)) == span


class TestGenes:
    """Ids as an Ensembl release has them; names of genes say nothing here."""

    IDS = tuple(f"ENSG{i:011d}" for i in range(10))
    GENES = pd.DataFrame({"feature_id": IDS, "feature_name": [f"G{i}" for i in range(10)]})

    def release(self, ids):
        names = [f"G{i}" for i in range(len(ids))]
        joinids = np.arange(len(ids)) + 100
        return pd.DataFrame({"soma_joinid": joinids, "feature_id": ids, "feature_name": names})

    @pytest.mark.parametrize("ours", ["", ".3"])
    @pytest.mark.parametrize("theirs", ["", ".17"])
    def test_versions_of_ids_do_not_count(self, ours, theirs):
        genes = self.GENES.assign(feature_id=[name + ours for name in self.IDS])
        release = self.release([name + theirs for name in self.IDS[::-1]])
        found = positions_of_genes(genes, release, "new", 0.5)
        assert found.tolist() == list(range(109, 99, -1))

    def test_those_that_a_release_lacks_are_none_and_logged(self, caplog):
        release = self.release([*self.IDS[:6], *(f"ENSG{i:011d}" for i in range(50, 54))])
        found = positions_of_genes(self.GENES, release, "new", 0.5)
        assert found.tolist() == [*range(100, 106), -1, -1, -1, -1]
        assert "release new: 6 of the model's 10 genes found" in caplog.text
        assert "G6, G7, G8, G9 missing and taken as zero" in caplog.text

    @pytest.mark.parametrize(("share", "refused"), [(0.5, True), (0.4, False)])
    def test_a_release_with_too_few_of_them_is_refused(self, share, refused):
        release = self.release([*self.IDS[:4], *(f"ENSG{i:011d}" for i in range(50, 56))])
        if not refused:
            assert (positions_of_genes(self.GENES, release, "new", share) >= 0).sum() == 4
            return
        with pytest.raises(
            UserError, match=r"Release new holds 4 of .* 10 genes: the others agree by name"
        ):
            positions_of_genes(self.GENES, release, "new", share)

    def test_of_an_id_that_is_there_twice_the_first_is_taken(self):
        release = self.release([*self.IDS, self.IDS[3]])
        assert positions_of_genes(self.GENES, release, "new", 0.5).tolist() == list(range(100, 110))


def test_a_gene_that_the_release_lacks_counts_as_not_expressed(release):
    wanted = GENES.iloc[[3, 3, 1]].assign(feature_id=["ENSG003", "ENSG999", "ENSG001"])
    positions = positions_of_genes(wanted, read_genes(release), "new", 0.5)
    assert positions.tolist() == [3, -1, 1]
    ((_, counts),) = CountsReader(release, positions).blocks(np.arange(100))
    assert set(counts.genes) == {0, 2}


def test_studies_that_the_choice_of_assays_leaves_out_are_named(release, tmp_path, caplog):
    counted, assays = AssayCounts(), ["10x 3' v2", "10x 5' v1"]
    steps = read_cells(release, assays, tmp_path / "cells.parquet", counted=counted)
    left_out = counted.left_out(assays)
    assert left_out.to_dict("records") == [{"study": "b", "cells": 60, "assays": "Smart-seq2"}]
    assert counted.left_out([*assays, "Smart-seq2"]).empty
    warn_left_out(left_out, "new")
    assert "1 studies have no cell of curation.assays and are left out: b (Smart-seq2)" in (
        caplog.text
    )
    newer = counted.cells_of(["Smart-seq2", "10x 3' v4"])
    write_release_info(release, steps, tmp_path, left_out, newer)
    report = gather_report([tmp_path / "release.json"], [tmp_path / "datasets.parquet"], [])
    values = report.set_index("quantity")["value"]
    assert values["studies without a cell of the assays"] == 1
    assert values["cells of study b, left out (Smart-seq2)"] == 60
    assert values["primary cells of the newer assay Smart-seq2, left out"] == 60
    assert values["primary cells of the newer assay 10x 3' v4, left out"] == 0


def test_counts_that_are_no_integers_are_refused(tmp_path):
    odd = study("a", 30, 0)
    odd.counts.data[17] = 1.5
    write_census(tmp_path / "x", "2023-05-15", [odd], {"homo_sapiens": GENES})
    with (
        open_release("2023-05-15", str(tmp_path / "x")) as opened,
        pytest.raises(UserError, match=r"not raw counts: 1\.5, of the cell .* is no raw count"),
    ):
        list(CountsReader(opened, np.arange(N_GENES)).blocks(np.arange(30)))


def test_values_of_cells_and_genes_that_are_not_asked_for_do_not_matter(tmp_path):
    whole = study("a", 30, 0)
    odd = study("a", 30, 0)
    odd.counts.data[odd.counts.indptr[7]] = 120_000  # as another assay may count
    write_census(tmp_path / "x", "2023-05-15", [odd], {"homo_sapiens": GENES})
    gene = odd.counts.indices[odd.counts.indptr[7]]
    every = np.arange(N_GENES)
    with open_release("2023-05-15", str(tmp_path / "x")) as opened:
        ids = np.delete(np.arange(30), 7)
        ((_, counts),) = CountsReader(opened, every).blocks(ids)
        assert counts.values.sum() == whole.counts[ids].sum()
        ((_, counts),) = CountsReader(opened, np.where(every == gene, -1, every)).blocks(
            np.arange(30)
        )
        assert len(counts.values) == whole.counts.nnz - (whole.counts.indices == gene).sum()
        with pytest.raises(UserError, match=r"120000.*, of the cell with soma_joinid 7, is no raw"):
            list(CountsReader(opened, every).blocks(np.arange(30)))


def test_a_coordinate_that_is_there_twice_is_refused(tmp_path):
    once = study("a", 30, 0)
    write_census(tmp_path / "x", "2023-05-15", [once], {"homo_sapiens": GENES})
    raw = tmp_path / "x/census_data/homo_sapiens/ms/RNA/X/raw"
    cell, gene = (int(axis[9]) for axis in once.counts.nonzero())
    entry = {"soma_dim_0": [cell], "soma_dim_1": [gene]}
    with tiledbsoma.SparseNDArray.open(str(raw), "w") as array:
        array.write(pa.table({**entry, "soma_data": pa.array([5.0], pa.float32())}))
    with (
        open_release("2023-05-15", str(tmp_path / "x")) as opened,
        pytest.raises(UserError, match=f"a gene of the cell with soma_joinid {cell} twice"),
    ):
        list(CountsReader(opened, np.arange(N_GENES)).blocks(np.arange(30)))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("value", [-1, 10**6])
def test_coordinates_outside_of_the_matrix_are_refused(axis, value, release, monkeypatch):
    keep = CountsReader._keep

    def damaged(self, batch, first, row_of):
        coordinates = batch.column(axis).to_numpy().copy()
        coordinates[3] = value
        name = batch.schema.names[axis]
        return keep(self, batch.set_column(axis, name, pa.array(coordinates)), first, row_of)

    monkeypatch.setattr(CountsReader, "_keep", damaged)
    with pytest.raises(UserError, match="coordinates outside of its cells and genes"):
        list(CountsReader(release, np.arange(N_GENES)).blocks(np.arange(40)))


class TestBadInput:
    def test_nothing_at_the_uri(self, tmp_path):
        with (
            pytest.raises(UserError, match=r"Cannot open .*nowhere \(release r\)"),
            open_release("r", str(tmp_path / "nowhere")),
        ):
            pass

    def test_a_soma_that_is_no_census(self, tmp_path):
        tiledbsoma.Collection.create(str(tmp_path / "x")).close()
        with (
            open_release("r", str(tmp_path / "x")) as opened,
            pytest.raises(UserError, match="not in the format of a Census: it has no census_data"),
        ):
            read_cells(opened, ["10x 3' v2"], tmp_path / "cells.parquet")

    def test_a_missing_column_is_named(self, release, tmp_path, monkeypatch):
        monkeypatch.setattr(release_module, "OBS_COLUMNS", ("dataset_id", "cell_size"))
        with pytest.raises(UserError, match=r"obs lacks the column cell_size"):
            read_cells(release, ["10x 3' v2"], tmp_path / "cells.parquet")
