"""Embeddings that files bring along."""

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from hce.inputs.embeddings import read_embedding

XY = np.arange(12, dtype=np.float64).reshape(4, 3)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ({"X_tsne": XY, "X_umap": XY + 1}, "X_umap"),
        ({"X_umap_harmony": XY, "X_umap": XY + 1}, "X_umap"),
        ({"X_pca": XY, "tSNE": XY + 1}, "tSNE"),
        ({"X_pca": XY}, None),
        ({"X_umap": XY[:, :1]}, None),
        ({}, None),
    ],
)
def test_the_best_known_embedding_is_taken(tmp_path, suffix, stored, name):
    cells = ad.AnnData(sp.csr_matrix((4, 2), dtype=np.float32), obsm=stored)
    path = tmp_path / f"cells.{suffix}"
    getattr(cells, f"write_{suffix}")(path)
    found = read_embedding(path)
    if name is None:
        assert found is None
    else:
        assert found is not None
        assert found[0] == name
        np.testing.assert_array_equal(found[1], stored[name][:, :2].astype(np.float32))


def test_a_folder_of_10x_has_none(tmp_path):
    (tmp_path / "matrix.mtx").write_text("%%MatrixMarket matrix coordinate integer general\n")
    assert read_embedding(tmp_path) is None
