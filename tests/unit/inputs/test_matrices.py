"""Matrices of other layouts than rows are read without reading much of them again."""

import numpy as np
import scipy.sparse as sp

from hce.inputs.matrices import ColumnMatrix


class Counting:
    """An array that counts the values that are read of it."""

    def __init__(self, values):
        self.values = values
        self.shape, self.dtype = values.shape, values.dtype
        self.read = 0

    def __getitem__(self, where):
        self.read += len(self.values[where])
        return self.values[where]


def columns_of(matrix):
    stored = matrix.tocsc()
    return ColumnMatrix(stored.indptr, stored.indices, Counting(stored.data), matrix.shape)


def test_columns_of_many_cells_with_few_values_are_read_once():
    matrix = sp.random(100_000, 20, 0.05, random_state=1, format="csr")
    columns = columns_of(matrix)
    blocks = list(columns.blocks())
    assert columns.data.read == matrix.nnz
    assert {block.shape[0] for block in blocks[:-1]} == {4096}
    assert (sp.vstack(blocks) != matrix).nnz == 0


def test_a_group_of_cells_holds_about_the_values_that_are_allowed(monkeypatch):
    monkeypatch.setattr("hce.inputs.matrices.GROUP_VALUES", 1000)
    matrix = sp.random(1000, 50, 0.1, random_state=1, format="csr")  # 5,000 values
    columns = columns_of(matrix)
    sizes = [block.nnz for block in columns.blocks(1000)]
    assert len(sizes) == 5
    assert max(sizes) < 1200
    assert columns.data.read == 5 * matrix.nnz


def test_columns_without_a_value_are_cells_without_a_value():
    blocks = list(columns_of(sp.csr_matrix((5, 3))).blocks(2))
    assert [block.shape for block in blocks] == [(2, 3), (2, 3), (1, 3)]
    assert sum(np.count_nonzero(block.toarray()) for block in blocks) == 0
