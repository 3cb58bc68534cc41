"""Cells of no known type are told from cells of known types, also of another study."""

from dataclasses import replace
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators import LABELS, N_GENES, make_annotator, make_cells
from hce.annotate import annotate
from hce.annotate.annotator import load_annotator, save_annotator
from hce.annotate.labels import FEW_GENES, NO_COUNTS, NOVEL, UNCERTAIN
from hce.annotate.novelty import SPREAD, Novelty, add_shares, by_study, log_shares, score_store
from hce.annotate.outcomes import count_outcomes
from hce.annotate.run import counts_of
from hce.annotate.shown import type_table
from hce.errors import UserError
from hce.ontology.targets import Targets
from hce.ontology.terms import Terms
from hce.store.cell_store import write_store
from hce.store.shards import write_shard

EVERY = np.arange(N_GENES)


def stored(folder, cells, genes):
    """A store of cells; cell i is of type i modulo the number of types."""
    counts = counts_of(cells.X, EVERY)
    ids = np.arange(len(counts), dtype=np.int64)
    folder.mkdir()
    write_shard(folder / "0.arrow", [(ids, counts)])
    table = pd.DataFrame({"soma_joinid": ids, "label": (ids % len(LABELS)).astype(np.int16)})
    table = table.assign(study=[f"s{i % 2}" for i in ids], donor="d")
    return write_store(folder / "store", [folder / "0.arrow"], table, genes, {})


def normalised(store):
    """The same store with log1p of counts per 10,000 in place of counts."""
    blocks = []
    for counts in store.blocks():
        totals = np.add.reduceat(counts.values.astype(np.float64), counts.indptr[:-1])
        scaled = counts.values * 1e4 / np.repeat(totals, np.diff(counts.indptr))
        blocks.append(replace(counts, values=np.log1p(scaled).astype(np.float32)))
    return SimpleNamespace(genes=store.genes, cells=store.cells, blocks=lambda: iter(blocks))


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A model that has seen cells of its types."""
    annotator = make_annotator()
    genes = annotator.trained.genes
    folder = tmp_path_factory.mktemp("known")
    shares = log_shares(stored(folder / "train", make_cells(400, seed=1), genes), len(LABELS))
    shares = shares.astype(np.float32)
    held_out = stored(folder / "val", make_cells(400, seed=2), genes)
    scored = score_store(annotator.trained, shares, held_out, 64, torch.device("cpu"))
    return replace(annotator, novelty=Novelty.calibrated(shares, scored))


def of_another_type(n: int = 60) -> ad.AnnData:
    """Cells with many counts in a few genes of each type, together as no type has them."""
    cells = make_cells(n, seed=5)
    counts = np.random.default_rng(5).poisson(0.5, cells.shape)
    counts[:, [3, 13, 23, 33]] += 15
    cells.X = sp.csr_matrix(counts.astype(np.float32))
    return cells


def of_another_study(n: int = 200) -> ad.AnnData:
    """Known types, whose genes are all seen a little better or worse."""
    cells = make_cells(n, seed=6)
    factors = np.random.default_rng(6).lognormal(0, 0.2, N_GENES)
    counts = np.random.default_rng(7).poisson(cells.X.toarray() * factors)
    cells.X = sp.csr_matrix(counts.astype(np.float32))
    return cells


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n_types=st.integers(2, 6), share=st.sampled_from([1.0, 0.6]))
def test_novelty_is_the_smallest_mean_surprise_of_the_most_probable_types(seed, n_types, share):
    rng = np.random.default_rng(seed)
    kept = rng.random(N_GENES) < share  # the genes that were looked at
    dense = rng.poisson(0.7, (9, N_GENES)).astype(np.float32) * kept
    dense[0] = 0
    p = rng.dirichlet(np.ones(N_GENES), n_types)
    probabilities = rng.dirichlet(np.ones(n_types), 9)
    novelty = Novelty(np.log(p).astype(np.float32), 1.0, 0).among(kept)
    found = novelty.of(counts_of(sp.csr_matrix(dense), EVERY), torch.from_numpy(probabilities))
    p = p[:, kept] / p[:, kept].sum(axis=1, keepdims=True)
    for cell in range(9):
        if not dense[cell].any():
            assert np.isnan(found[cell])
            continue
        q = dense[cell, kept] / dense[cell].sum()
        best = np.argsort(-probabilities[cell])[:3]
        assert found[cell] == pytest.approx(min(-(q * np.log(p[t])).sum() for t in best), rel=1e-5)


@pytest.mark.parametrize("logged", [False, True])
def test_shares_are_the_means_over_the_cells_of_a_type(tmp_path, logged):
    cells = make_cells(41, seed=3)
    store = stored(tmp_path / "store", cells, make_annotator().trained.genes)
    store = normalised(store) if logged else store
    found = np.exp(log_shares(store, len(LABELS) + 1).astype(np.float64))
    x = cells.X.toarray().astype(np.float64)
    shares = x / x.sum(axis=1, keepdims=True)
    for number in range(len(LABELS)):
        mean = shares[np.arange(41) % len(LABELS) == number].mean(axis=0)
        expected = (1 - SPREAD) * mean + SPREAD / N_GENES
        np.testing.assert_allclose(found[number], expected, rtol=5e-3)
    np.testing.assert_allclose(found[-1], 1 / N_GENES, rtol=5e-3)  # a type without cells


def test_cells_without_a_row_are_not_added():
    counts = counts_of(sp.csr_matrix(np.array([[1.0, 3.0], [2.0, 2.0], [0.0, 5.0]])), EVERY[:2])
    sums = np.zeros((2, 2))
    add_shares(counts, np.array([1, -1, 1]), sums)
    np.testing.assert_allclose(sums, [[0, 0], [0.25, 1.75]])


def test_another_type_is_novel_and_another_study_of_known_types_is_not(known):
    new_type, new_study = of_another_type(), of_another_study()
    for cells in (new_type, new_study):
        annotate(cells, known)
    assert new_type.obs["hce_novel"].mean() > 0.95
    assert new_study.obs["hce_novel"].mean() < 0.08
    assert new_type.obs["hce_novelty"].min() > new_study.obs["hce_novelty"].median()
    # The probabilities alone do not say it.
    assert (new_type.obs["hce_probability"] > 0.5).any()


def test_a_novel_cell_is_unknown_but_keeps_its_most_probable_type(known):
    cells = of_another_type()
    known = replace(known, novelty=replace(known.novelty, few_genes=0))
    annotate(cells, known, levels=["T cell"])
    novel = cells.obs["hce_novel"].to_numpy()
    assert set(cells.obs["hce_back_off_cell_type"][novel]) == {"unknown"}
    assert set(cells.obs["hce_level_cell_type"][novel]) == {"unknown"}
    assert set(cells.obs["hce_cell_type"]) <= set(LABELS)
    assert set(cells.obs["hce_unknown_reason"][novel]) == {NOVEL}
    assert "unlike any type" in type_table(cells.obs)


def test_the_reason_is_given_for_unknown_cells_and_no_others(known):
    counts = np.random.default_rng(0).poisson(2.0, (40, N_GENES))  # of all types a little
    counts[:10] = 0
    counts[1:10, [0, 30]] = 9  # two genes, of types without relation
    cells = make_cells(80)
    cells.X = sp.vstack([make_cells(40, seed=4).X, sp.csr_matrix(counts.astype(np.float32))])
    annotator = replace(known, novelty=replace(known.novelty, threshold=50.0, few_genes=5))
    annotate(cells, annotator, probability=0.9)
    unknown = cells.obs["hce_back_off_cell_type"] == "unknown"
    reason = cells.obs["hce_unknown_reason"]
    assert (reason.notna() == unknown).all()
    assert reason.iloc[40] == NO_COUNTS
    assert set(reason.iloc[41:50]) == {FEW_GENES}
    assert set(reason.iloc[50:].dropna()) == {UNCERTAIN}


def test_a_few_odd_cells_do_not_make_a_cluster_unknown_but_most_of_it_do(known):
    cells = ad.concat([make_cells(40, seed=8), of_another_type(44)], index_unique="-")
    ours = np.r_[np.zeros(40, int), np.ones(44, int)]
    ours[40:44] = 0  # four odd cells in the first cluster
    cells.obs["cluster"] = pd.Categorical([f"k{i}" for i in ours])
    cells.var = make_cells(1).var
    annotate(cells, known, vote="cluster")
    of_cluster = cells.obs.groupby("cluster", observed=True)
    assert of_cluster["hce_vote_novel"].first().to_dict() == {"k0": False, "k1": True}
    mean = of_cluster["hce_novelty"].mean()
    np.testing.assert_allclose(of_cluster["hce_vote_novelty"].first(), mean, rtol=1e-5)
    assert set(cells.obs["hce_vote_back_off_cell_type"][ours == 1]) == {"unknown"}


def test_genes_that_a_file_lacks_do_not_make_its_cells_novel(known):
    cells = of_another_study()
    annotate(cells, known)
    fewer = of_another_study()[:, np.arange(N_GENES) % 10 < 6].copy()
    annotate(fewer, known)
    assert fewer.obs["hce_novel"].mean() <= cells.obs["hce_novel"].mean() + 0.08
    panel = of_another_study()[:, np.arange(N_GENES) % 10 < 2].copy()
    annotate(panel, known, panel=True)
    assert "hce_novel" not in panel.obs


def test_what_it_needs_travels_in_the_model_file(known, tmp_path):
    save_annotator(tmp_path / "model.hce", known)
    found = load_annotator(tmp_path / "model.hce").novelty
    np.testing.assert_array_equal(found.log_shares, known.novelty.log_shares)
    assert (found.threshold, found.few_genes) == (known.novelty.threshold, known.novelty.few_genes)
    save_annotator(tmp_path / "without.hce", make_annotator())
    assert load_annotator(tmp_path / "without.hce").novelty is None
    odd = replace(known, novelty=replace(known.novelty, log_shares=np.zeros((2, 3), np.float32)))
    save_annotator(tmp_path / "odd.hce", odd)
    with pytest.raises(UserError, match="shares of genes"):
        load_annotator(tmp_path / "odd.hce")


def test_novel_cells_get_no_answer_where_the_precision_is_measured(known, tmp_path):
    store = stored(tmp_path / "store", make_cells(80, seed=9), known.trained.genes)
    terms = Terms.only(known.trained.types, known.trained.reachability)
    labels = np.arange(80) % len(LABELS)
    targets = Targets.unrestricted(known.trained.reachability)
    novel = np.arange(80) % 3 == 0
    given = (known.trained, terms, store, targets, labels, labels, 16, torch.device("cpu"))
    every, rest = (count_outcomes(*given, np.array([0.1]), n) for n in (None, novel))
    assert every.reported.sum() == 80
    assert rest.reported.sum() == (~novel).sum()
    assert rest.cells == 80


def test_the_table_has_the_shares_of_each_study(known):
    novelty = replace(known.novelty, threshold=2.0, few_genes=5)
    scored = pd.DataFrame(
        {"study": list("aab"), "novelty": [1.0, 3.0, 2.5], "genes": [9, 4, 6]},
    )
    rows = by_study(novelty, {"ood": scored}).set_index("study")
    assert rows.loc["a", ["cells", "novelty", "novel", "few_genes"]].tolist() == [2, 2.0, 0.5, 0.5]
    assert rows.loc["b", ["cells", "novel", "few_genes"]].tolist() == [1, 1.0, 0.0]
