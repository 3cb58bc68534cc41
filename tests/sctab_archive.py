"""A small store in the layout that scTab published (simulated), and what it was made of."""

import shutil
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scanpy
import scipy.sparse as sp

from hce.ontology import Hierarchy
from hce.store.counts import Counts

N_GENES = 40
GENES = pd.DataFrame(
    {
        "feature_id": [f"ENSG{i:05d}" for i in range(N_GENES)],
        "feature_name": [f"GENE{i}" for i in range(N_GENES)],
    }
)
TYPES = {
    "CL:0000084": "T cell",
    "CL:0000236": "B cell",
    "CL:0000624": "CD4-positive, alpha-beta T cell",
    "CL:0000576": "monocyte",
}
FOLDERS = {"train": "train", "val": "val", "id": "test"}
ROWS_A_PART = {"train": [48, 32, 32], "val": [32], "id": [32, 16]}
CATEGORIES = [
    *("dataset_id", "donor_id", "assay", "cell_type", "development_stage", "disease"),
    *("tissue", "tissue_general", "tech_sample"),
]


def simulated_cells(n: int, seed: int, study: str) -> tuple[pd.DataFrame, sp.csr_matrix]:
    """Cells with the columns that a release has, and their raw counts."""
    rng = np.random.default_rng(seed)
    types = np.array(list(TYPES))[np.arange(n) % len(TYPES)]
    obs = pd.DataFrame(
        {
            "dataset_id": study,
            "donor_id": [f"d{i % 5}" for i in range(n)],
            "assay": "10x 3' v3",
            "cell_type_ontology_term_id": types,
            "cell_type": [TYPES[t] for t in types],
            "development_stage": "adult",
            "disease": rng.choice(["normal", "asthma"], n),
            "tissue": rng.choice(["blood", "lung lobe"], n),
            "tissue_general": rng.choice(["blood", "lung"], n),
        }
    )
    counts = sp.random(n, N_GENES, 0.4, format="csr", rng=rng).astype(np.float32)
    counts.data = rng.integers(1, 50, counts.nnz).astype(np.float32)
    counts[3] = 0  # a cell without counts
    counts.eliminate_zeros()
    return obs, counts.tocsr()


def normalised(counts: sp.csr_matrix) -> np.ndarray:
    """log1p of counts per 10,000, by scanpy."""
    data = anndata.AnnData(counts.copy())
    scanpy.pp.normalize_total(data, target_sum=1e4)
    scanpy.pp.log1p(data)
    return data.X.toarray().astype(np.float32)


class Written:
    """A small store in the published layout, with what it was made of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        sizes = {name: sum(rows) for name, rows in ROWS_A_PART.items()}
        parts = [
            simulated_cells(size, seed, f"s{seed}") for seed, size in enumerate(sizes.values())
        ]
        obs = pd.concat([obs for obs, _ in parts], ignore_index=True)
        obs["tech_sample"] = obs["dataset_id"] + "_" + obs["donor_id"]
        obs["soma_joinid"] = np.random.default_rng(9).permutation(len(obs)) + 1000
        obs["set"] = np.repeat(list(sizes), list(sizes.values()))
        self.obs = obs
        self.counts = {name: counts for name, (_, counts) in zip(sizes, parts, strict=True)}
        (folder / "categorical_lookup").mkdir(parents=True)
        (folder / "cell_type_hierarchy").mkdir()
        GENES.to_parquet(folder / "var.parquet")
        codes = {}
        for column in CATEGORIES:
            values = obs[column].astype("category")
            codes[column] = values.cat.codes.astype("i8")
            lookup = pd.DataFrame({"label": list(values.cat.categories)})
            lookup.to_parquet(folder / "categorical_lookup" / f"{column}.parquet")
        for name, rows in ROWS_A_PART.items():
            (folder / FOLDERS[name]).mkdir()
            (folder / FOLDERS[name] / "_metadata").write_bytes(b"")
            chosen, start = np.flatnonzero(obs["set"] == name), 0
            for number, size in enumerate(rows):
                self.write_part(name, number, chosen[start : start + size], start, codes)
                start += size
        labels = sorted(TYPES.values())
        train = obs.loc[obs["set"] == "train", "cell_type"].value_counts()[labels]
        np.save(folder / "class_weights.npy", (train.sum() / (len(TYPES) * train)).to_numpy())
        matrix = np.eye(len(labels))
        matrix[labels.index("T cell"), labels.index("CD4-positive, alpha-beta T cell")] = 1.0
        np.save(folder / "cell_type_hierarchy" / "child_matrix.npy", matrix)
        np.save(folder / "augmentations.npy", np.ones((6, N_GENES), np.float32))

    def write_part(self, name, number, rows, start, codes) -> None:
        counts = self.counts[name][start : start + len(rows)]
        columns = {
            "X": pa.array(list(normalised(counts)), pa.list_(pa.float32())),
            "soma_joinid": self.obs["soma_joinid"].to_numpy()[rows],
            "is_primary_data": np.ones(len(rows), bool),
            **{column: codes[column].to_numpy()[rows] for column in CATEGORIES},
            "idx": np.arange(start, start + len(rows)),
        }
        path = self.folder / FOLDERS[name] / f"part.{number}.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=16)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Written:
    return Written(tmp_path_factory.mktemp("sctab") / "merlin_sf-log1p")


@pytest.fixture
def copy(written, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(written.folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def small_hierarchy(slim) -> Hierarchy:
    return Hierarchy.build(TYPES, slim)


def dense(counts: Counts) -> np.ndarray:
    matrix = sp.csr_matrix((counts.values, counts.genes, counts.indptr), (len(counts), N_GENES))
    return matrix.toarray()
