"""Which matrix of a file is read as counts."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from hce.errors import UserError
from hce.inputs.cells import cells_of
from hce.inputs.counts import choose_counts, kind_of_values


def counts(seed: int = 0, genes: int = 30) -> sp.csr_matrix:
    return sp.csr_matrix(np.random.default_rng(seed).poisson(2, (40, genes)).astype(np.float32))


def binarised(matrix: sp.csr_matrix) -> sp.csr_matrix:
    return (matrix > 0).astype(np.float32)


def fractions(matrix: sp.csr_matrix, share: float = 0.4) -> sp.csr_matrix:
    """Counts from which a part of some genes is taken, as SoupX does."""
    rng = np.random.default_rng(1)
    changed = matrix.copy()
    broken = rng.random(len(changed.data)) < share
    changed.data[broken] *= rng.uniform(0.5, 1, broken.sum()).astype(np.float32)
    return changed


def normalised(matrix: sp.csr_matrix) -> sp.csr_matrix:
    return sp.csr_matrix(matrix.multiply(1e4 / matrix.sum(axis=1))).astype(np.float32)


def cells(x: sp.csr_matrix | None, **layers: sp.csr_matrix) -> ad.AnnData:
    var = pd.DataFrame(index=[f"G{i}" for i in range(30)])
    obs = pd.DataFrame(index=[f"c{i}" for i in range(40)])
    return ad.AnnData(x, obs=obs, var=var, layers=layers)


def test_of_the_layers_of_velocyto_the_sum_is_taken():
    whole = counts()
    made = cells(
        whole.log1p(), ambiguous=counts(1) * 9, matrix=whole, spliced=counts(2), unspliced=whole * 2
    )
    choice = choose_counts(cells_of(made))
    assert choice.place.name == "matrix"
    assert set(choice.others) == {"X", "ambiguous", "spliced", "unspliced"}
    assert "ambiguous holds counts" in choice.report()


@pytest.mark.parametrize("name", ["ambiguous", "unspliced", "background", "ambient", "binarised"])
def test_a_part_of_the_counts_is_taken_only_by_name(name):
    made = cells_of(cells(counts().log1p(), **{name: counts()}))
    with pytest.raises(UserError, match=f"{name} holds counts.*only where you name them"):
        choose_counts(made)
    assert choose_counts(made, name).place.name == name


def test_counts_are_taken_and_not_what_was_binarised():
    made = cells(binarised(counts()))
    made.raw = cells(counts())
    choice = choose_counts(cells_of(made))
    assert choice.place.name == "raw"
    assert choice.others == {"X": "nothing but 0 and 1, as binarised counts do"}
    alone = cells_of(cells(binarised(counts())))
    with pytest.raises(UserError, match="nothing but 0 and 1"):
        choose_counts(alone)
    assert choose_counts(alone, "X").place.name == "X"


def test_all_genes_are_taken_and_not_the_variable_ones():
    made = cells(counts())
    made.raw = made
    made = made[:, :12].copy()
    made.X = made.X * 10
    choice = choose_counts(cells_of(made))
    assert choice.place.name == "raw"
    assert choice.others["X"] == "counts of 12 genes only"


def test_the_matrix_with_the_genes_that_are_wanted_is_taken():
    made = cells(counts())
    made.raw = cells(counts() * 3)
    made.raw.var.index = [f"probe{i}" for i in range(30)]
    wanted = {f"G{i}" for i in range(20)}
    choice = choose_counts(cells_of(made), genes_of=lambda var: len(wanted & set(var.index)))
    assert choice.place.name == "X"


def test_raw_counts_are_taken_and_not_corrected_ones_also_where_rounding_is_allowed():
    made = cells_of(cells(fractions(counts()), counts=counts()))
    for rounded in (False, True):
        choice = choose_counts(made, rounded=rounded)
        assert (choice.place.name, choice.place.rounded) == ("counts", False)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (fractions(counts()), "fractions such as .*SoupX, CellBender"),
        (counts().log1p().expm1(), "values such as .*logged and unlogged"),
    ],
)
def test_what_can_be_rounded_is_named_and_rounded_on_demand(values, words):
    made = cells_of(cells(values))
    with pytest.raises(UserError, match=f"{words}.*give --round"):
        choose_counts(made)
    choice = choose_counts(made, rounded=True)
    assert choice.place.rounded
    assert "which are rounded" in choice.report()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (normalised(counts()), "as normalised data do"),
        (normalised(counts()).log1p(), "as log-transformed data do"),
        (sp.csr_matrix(counts().toarray() - 0.5), "as scaled data do"),
        (counts() * np.nan, "missing or infinite"),
    ],
)
def test_what_is_no_counts_is_refused_also_where_rounding_is_allowed(values, words):
    with pytest.raises(UserError, match=words):
        choose_counts(cells_of(cells(values)), rounded=True)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    depth=st.floats(0.3, 20),
    scale=st.floats(50, 1e5),
    share=st.floats(0.1, 0.8),
)
def test_counts_fractions_and_transforms_are_told_apart_at_any_depth(seed, depth, scale, share):
    rng = np.random.default_rng(seed)
    means = depth * rng.lognormal(0, 1, 60)
    raw = sp.csr_matrix(
        rng.poisson(means, (80, 60)).astype(np.float32) + np.eye(80, 60, dtype="f4")
    )
    raw.data[0] = 2
    assert kind_of_values(raw).name == "counts"
    scaled = sp.csr_matrix(raw.multiply(scale / raw.sum(axis=1))).astype(np.float32)
    assert kind_of_values(scaled).name in ("other", "near-integers")
    assert kind_of_values(scaled.log1p()).name == "other"
    assert kind_of_values(fractions(raw, share)).name in ("fractions", "other")


def test_a_layer_that_is_called_raw_does_not_hide_raw():
    made = cells(counts().log1p())
    made.layers["raw"] = counts().log1p()
    made.raw = cells(counts())
    choice = choose_counts(cells_of(made))
    assert choice.place.name == "raw"
    assert "layers/raw" in choice.others
