"""The writer of census-shaped releases, read back with the ordinary Census client."""

import tracemalloc

import cellxgene_census
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import tiledbsoma

from hce.sources import soma
from hce.sources.soma import HUMAN, MOUSE, TILE, Study, write_census

OLD, NEW = "2023-05-15", "2023-12-15"


def genes(number: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "feature_id": [f"id{i}" for i in range(number)],
            "feature_name": [f"name{i}" for i in range(number)],
            "feature_length": 0,
        }
    )


def study(name: str, cells: int, n_genes: int, organism: str = HUMAN, seed: int = 0) -> Study:
    random = np.random.default_rng(seed)
    dense = random.poisson(0.3, (cells, n_genes)).astype(np.float32)
    dense[:, seed] = 0  # a gene that the study does not have
    obs = pd.DataFrame(
        {
            "cell_type": np.where(np.arange(cells) % 2, "B cell", "T cell"),
            "cell_type_ontology_term_id": np.where(np.arange(cells) % 2, "CL:1", "CL:2"),
            "donor_id": [f"d{i % 3}" for i in range(cells)],
            "is_primary_data": np.arange(cells) % 5 > 0,
        }
    )
    return Study(
        name, name.upper(), "c", "Collection", "10.1/x", obs, sp.csr_matrix(dense), organism
    )


def x_of(census: tiledbsoma.Collection, organism: str = HUMAN) -> np.ndarray:
    raw = census["census_data"][organism].ms["RNA"].X["raw"]
    table = raw.read().tables().concat()
    assert str(table.schema.field("soma_data").type) == "float"
    matrix = sp.coo_matrix(
        (
            table["soma_data"].to_numpy(),
            (table["soma_dim_0"].to_numpy(), table["soma_dim_1"].to_numpy()),
        ),
        shape=raw.shape,
    )
    assert matrix.nnz == raw.nnz  # no entry twice, none lost
    return matrix.toarray()


def frame(census: tiledbsoma.Collection, *path: str) -> pd.DataFrame:
    node = census
    for key in path:
        node = node.ms if key == "ms" else node[key]
    return node.read().concat().to_pandas()


@pytest.mark.parametrize("release", [OLD, NEW])
def test_census_client_reads_back_cells_genes_and_counts(tmp_path, release):
    studies = [study("a", 30, 12, seed=1), study("m", 7, 5, MOUSE), study("b", 20, 12, seed=2)]
    write_census(tmp_path / release, release, studies, {HUMAN: genes(12), MOUSE: genes(5)})
    with cellxgene_census.open_soma(uri=str(tmp_path / release)) as census:
        anndata = cellxgene_census.get_anndata(census, HUMAN)
        mouse = x_of(census, MOUSE)
    expected = sp.vstack([studies[0].counts, studies[2].counts]).toarray()
    np.testing.assert_array_equal(anndata.X.toarray(), expected)
    np.testing.assert_array_equal(mouse, studies[1].counts.toarray())
    assert anndata.obs["dataset_id"].tolist() == ["a"] * 30 + ["b"] * 20
    assert anndata.obs["soma_joinid"].tolist() == list(range(50))
    assert anndata.obs["cell_type"].tolist()[:2] == ["T cell", "B cell"]
    assert anndata.var["feature_name"].tolist() == genes(12)["feature_name"].tolist()
    assert set(anndata.obs["tissue"]) == {"unknown"}


def test_statistics_equal_numpy(tmp_path):
    studies = [study("a", 30, 12, seed=1), study("b", 20, 12, seed=2)]
    write_census(tmp_path / NEW, NEW, studies, {HUMAN: genes(12)})
    with tiledbsoma.open(str(tmp_path / NEW)) as census:
        obs = frame(census, "census_data", HUMAN, "obs")
        var = frame(census, "census_data", HUMAN, "ms", "RNA", "var")
        presence = census["census_data"][HUMAN].ms["RNA"]["feature_dataset_presence_matrix"]
        present = presence.read().coos().concat().to_scipy().toarray()
    dense = [s.counts.toarray() for s in studies]
    both = np.vstack(dense)
    nonzero = [row[row > 0] for row in both]
    np.testing.assert_allclose(obs["raw_sum"], both.sum(axis=1))
    np.testing.assert_array_equal(obs["nnz"], [len(row) for row in nonzero])
    means = [row.mean() if len(row) else 0 for row in nonzero]
    np.testing.assert_allclose(obs["raw_mean_nnz"], means)
    variance = [row.var(ddof=1) if len(row) > 1 else 0 for row in nonzero]
    np.testing.assert_allclose(obs["raw_variance_nnz"], variance, atol=1e-12)
    np.testing.assert_array_equal(var["nnz"], (both > 0).sum(axis=0))
    np.testing.assert_array_equal(present, [(d > 0).any(axis=0) for d in dense])
    measured = [(d > 0).any(axis=0).sum() for d in dense]
    np.testing.assert_array_equal(obs["n_measured_vars"], np.repeat(measured, [30, 20]))
    np.testing.assert_array_equal(var["n_measured_obs"], present.T @ [30, 20])


def test_summaries_count_cells_and_carry_further_rows(tmp_path):
    studies = [study("a", 30, 12), study("m", 7, 5, MOUSE)]
    write_census(
        tmp_path / OLD, OLD, studies, {HUMAN: genes(12), MOUSE: genes(5)}, {"simulated": "true"}
    )
    with tiledbsoma.open(str(tmp_path / OLD)) as census:
        summary = frame(census, "census_info", "summary").set_index("label")["value"]
        counts = frame(census, "census_info", "summary_cell_counts")
        datasets = frame(census, "census_info", "datasets")
    assert summary["simulated"] == "true"
    assert summary["total_cell_count"] == "37"
    assert summary["unique_cell_count"] == str(24 + 5)
    assert summary[f"number_donors_{HUMAN}"] == "3"
    human = counts[(counts["organism"] == "Homo sapiens")]
    types = human[human["category"] == "cell_type"].set_index("label")
    assert types["total_cell_count"].to_dict() == {"B cell": 15, "T cell": 15}
    assert types["ontology_term_id"].to_dict() == {"B cell": "CL:1", "T cell": "CL:2"}
    assert datasets["dataset_id"].tolist() == ["a", "m"]
    assert datasets["dataset_total_cell_count"].tolist() == [30, 7]


@pytest.mark.parametrize("run_cells", [TILE, 2 * TILE])
def test_counts_survive_where_cells_and_genes_span_several_tiles(tmp_path, monkeypatch, run_cells):
    monkeypatch.setattr(soma, "RUN_CELLS", run_cells)
    n_genes = 2 * TILE + 3
    studies = [
        Study(str(i), "", "", "", "", pd.DataFrame({"donor_id": ["d"] * cells}), matrix)
        for i, cells in enumerate((TILE - 5, 9, TILE))
        for matrix in [sp.random(cells, n_genes, 5e-4, "csr", random_state=i)]
    ]
    for each in studies:
        each.counts.data[:] = np.arange(1, each.counts.nnz + 1)
    write_census(tmp_path / OLD, OLD, studies, {HUMAN: genes(n_genes)})
    with tiledbsoma.open(str(tmp_path / OLD)) as census:
        read = x_of(census)
    np.testing.assert_array_equal(read, sp.vstack([s.counts for s in studies]).toarray())


def test_a_study_is_written_in_few_times_the_memory_of_its_counts(tmp_path):
    cells, n_genes, per_cell = 40_000, 200, 100
    columns = np.tile(np.arange(0, n_genes, n_genes // per_cell, dtype=np.int32), cells)
    bounds = np.arange(cells + 1) * per_cell
    matrix = sp.csr_matrix((np.ones(len(columns), np.float32), columns, bounds), (cells, n_genes))
    obs = pd.DataFrame({"donor_id": ["d"] * cells})
    tracemalloc.start()
    try:
        write_census(
            tmp_path / NEW, NEW, [Study("a", "", "", "", "", obs, matrix)], {HUMAN: genes(n_genes)}
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 25 * matrix.nnz  # the counts take 8 bytes each


def test_a_failing_study_leaves_nothing_behind(tmp_path):
    def studies():
        yield study("a", 9, 4)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_census(tmp_path / OLD, OLD, studies(), {HUMAN: genes(4)})
    assert list(tmp_path.iterdir()) == []


def test_an_older_release_at_the_same_place_is_replaced(tmp_path):
    for name in ("a", "b"):
        write_census(tmp_path / OLD, OLD, [study(name, 9, 4)], {HUMAN: genes(4)})
    with tiledbsoma.open(str(tmp_path / OLD)) as census:
        assert frame(census, "census_info", "datasets")["dataset_id"].tolist() == ["b"]
