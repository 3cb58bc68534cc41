"""Whether cells show the genes of the type that they are called."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from annotators import LABELS, N_GENES, make_annotator, make_cells, profiles
from hce.annotate import annotate
from hce.annotate.labels import UNMARKED
from hce.annotate.markers import check_markers, unmarked
from hce.annotate.novelty import Novelty

EVERY = np.arange(N_GENES)


@pytest.fixture
def known():
    return replace(make_annotator(), novelty=Novelty(profiles(), 9.0, 0))


def test_markers_are_the_genes_that_training_cells_of_other_types_have_less_of(known):
    shares = np.exp(profiles().astype(np.float64))
    cells = np.array([0, 0, 20, 3])
    sums = 1e4 * shares * cells[:, None]
    table = check_markers(known, np.arange(4), sums, cells, EVERY)
    assert set(table["type"]) == {"CD4 T cell"}  # the monocytes are too few
    assert set(table["gene"]) <= {f"GENE{i}A" for i in range(20, 30)}
    assert table["agrees"].all()
    np.testing.assert_allclose(table["found"], table["expected"], rtol=1e-5)
    others = 1e4 * shares[3, 20]  # lymphocytes and T cells are above
    np.testing.assert_allclose(table["elsewhere"], others, rtol=1e-5)
    few = check_markers(known, np.arange(4), sums, cells, np.arange(12))
    assert set(few["gene"]) <= {f"GENE{i}A" for i in range(12)}


def test_cells_agree_that_are_nearer_to_their_type_than_to_the_others(known):
    shares = np.exp(profiles().astype(np.float64))
    high, low = 1e4 * shares[2, 20], 1e4 * shares[3, 20]
    middle = np.sqrt((high + 1) * (low + 1)) - 1
    for value, expected in ((middle * 1.01, True), (middle * 0.99, False)):
        table = check_markers(
            known, np.array([2]), np.full((1, N_GENES), 20 * value), np.array([20]), EVERY
        )
        assert set(table["agrees"]) == {expected}


def test_terms_above_the_types_and_models_without_profiles_are_not_checked(known):
    sums, cells = np.ones((3, N_GENES)), np.array([20, 20, 20])
    assert check_markers(known, np.array([-1, 4, 9]), sums, cells, EVERY).empty
    assert check_markers(make_annotator(), np.array([0, 1, 3]), sums, cells, EVERY).empty
    assert not unmarked(check_markers(known, np.array([-1, 4, 9]), sums, cells, EVERY), 3).any()


def test_one_marker_is_enough_not_to_be_without_markers():
    table = pd.DataFrame({"group": [1, 1, 3, 3], "agrees": [False, True, False, False]})
    assert unmarked(table, 5).tolist() == [False, False, False, True, False]


def test_a_cluster_without_any_marker_of_its_vote_gets_no_answer_and_its_cells_keep_theirs(known):
    cells = make_cells(80)
    counts = np.random.default_rng(0).poisson(0.5, (80, N_GENES)).astype(np.float32)
    counts[:, 35:] += 30  # genes of the monocytes, but not those that mark them most
    cells.X = sp.csr_matrix(np.where(np.arange(80)[:, None] < 40, cells.X.toarray(), counts))
    cells.obs["cluster"] = pd.Categorical([LABELS[i % 4] if i < 40 else "odd" for i in range(80)])
    log_shares = profiles()
    log_shares[3, 30:35] += 0.1
    annotate(cells, replace(known, novelty=Novelty(log_shares, 9.0, 0)), vote="cluster")
    odd = cells.obs["cluster"] == "odd"
    assert set(cells.obs["hce_vote_cell_type"][odd]) == {"monocyte"}
    assert set(cells.obs["hce_vote_back_off_cell_type"][odd]) == {"unknown"}
    assert set(cells.obs["hce_vote_unknown_reason"][odd]) == {UNMARKED}
    assert (cells.obs["hce_back_off_cell_type"][odd] == "monocyte").any()
    assert not (cells.obs["hce_vote_back_off_cell_type"][~odd] == "unknown").any()
