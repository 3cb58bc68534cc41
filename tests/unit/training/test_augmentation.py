"""Augmentation vectors against the spec written out for dense float64 matrices."""

import numpy as np
import pandas as pd
import pytest
import torch

from hce.errors import UserError
from hce.report.summary_augmentation import augmentation
from hce.store.cell_store import write_store
from hce.store.shards import write_shard
from hce.training.augmentation import (
    AugmentationSpec,
    draw_cells,
    draw_pairs,
    make_vectors,
    read_published_vectors,
)

N_GENES, N_CELLS = 50, 2100
SPEC = AugmentationSpec(
    cells=10_000,
    pairs=300,
    threshold=0.25,
    clip=0.6,
    clusters=4,
    min_cluster=10,
    vectors=1000,
    seed=1,
)


@pytest.fixture
def make_store(make_counts, tmp_path):
    """A store of cells of four types from six donors, or as asked."""

    def make(labels=None, donors=None):
        rng = np.random.default_rng(5)
        labels = rng.integers(0, 4, N_CELLS) if labels is None else labels
        donors = rng.integers(0, 6, N_CELLS) if donors is None else donors
        ids = np.arange(N_CELLS, dtype=np.int64)
        counts = make_counts(N_CELLS, N_GENES, 3)
        write_shard(tmp_path / "0.arrow", [(ids, counts)])
        cells = pd.DataFrame(
            {
                "soma_joinid": ids,
                "label": labels.astype(np.int16),
                "donor": pd.Categorical(np.char.add("donor ", donors.astype(str))),
            }
        )
        genes = pd.DataFrame({"feature_id": [f"E{i}" for i in range(N_GENES)]})
        genes["feature_name"] = genes["feature_id"]
        return write_store(tmp_path / "store", [tmp_path / "0.arrow"], cells, genes, {}), counts

    return make


def changed(**changes):
    return AugmentationSpec(**(vars(SPEC) | changes))


def expected_differences(counts, cells, spec):
    """Every difference between two donors within a type, limited, as a set of rounded rows."""
    dense = np.zeros((len(cells), N_GENES))
    rows = np.repeat(np.arange(len(cells)), np.diff(counts.indptr))
    dense[rows, counts.genes] = counts.values
    totals = np.maximum(dense.sum(axis=1, keepdims=True), 1)
    expression = pd.DataFrame(np.log1p(dense / totals * 1e4))
    found = []
    for _, of_type in expression.groupby(cells["label"].to_numpy()):
        donors = cells["donor"].to_numpy()[of_type.index]
        means = of_type.groupby(donors).mean().to_numpy()
        for i in range(len(means)):
            for j in range(i + 1, len(means)):
                v = means[i] - means[j]
                v = np.where(np.abs(v) <= spec.threshold, 0, v)
                found.append(np.clip(v, -spec.clip, spec.clip))
    return np.array(found)


def test_vectors_are_limited_differences_of_donors_mean_log_expression(make_store):
    store, counts = make_store()
    vectors, report = make_vectors(store, SPEC)
    expected = expected_differences(counts, store.cells(), SPEC)
    assert vectors.dtype == np.float32
    assert len(expected) == 4 * 15
    # One pair of each type is left out, and the others keep their order.
    place = [int(np.abs(expected - vector).max(axis=1).argmin()) for vector in vectors]
    assert np.bincount(np.array(place) // 15).tolist() == [14] * 4
    assert len(set(place)) == len(place)
    np.testing.assert_allclose(vectors, expected[place], atol=1e-4)
    assert dict(report.to_numpy())["vectors"] == 56
    # The spec's limits are reached here, or the comparison would not show them.
    assert (expected == 0).any()
    assert (np.abs(expected) == SPEC.clip).any()


def test_the_report_says_how_large_changes_are(make_store):
    store, _ = make_store()
    for vectors in (1000, 12):
        spec = changed(vectors=vectors, clip=100.0)
        found, report = make_vectors(store, spec)
        values = dict(report.to_numpy())
        every, _ = make_vectors(store, changed(clip=100.0))
        assert values["changes beyond the threshold, %"] == pytest.approx(100 * (every != 0).mean())
        ranked = np.sort(np.abs(every).ravel())
        expected = ranked[int(np.ceil(0.995 * ranked.size)) - 1]
        assert values["0.995 quantile of the size of changes"] == pytest.approx(expected)
        assert values["non-zeros of the vectors, %"] == pytest.approx(100 * (found != 0).mean())


def test_the_same_seed_gives_the_same_vectors_and_another_seed_others(make_store):
    store, _ = make_store()
    specs = [changed(cells=500, pairs=5, vectors=12, seed=seed) for seed in (1, 1, 2)]
    one, same, other = (make_vectors(store, spec)[0] for spec in specs)
    np.testing.assert_array_equal(one, same)
    assert one.shape == other.shape == (12, N_GENES)
    assert not np.array_equal(one, other)


def test_vectors_are_sampled_from_the_large_clusters(make_store, monkeypatch):
    store, _ = make_store()
    every, _ = make_vectors(store, SPEC)
    cluster_of = np.repeat([0, 1], [20, 36])

    class Clusters:
        def __init__(self, n, **options):
            assert n == SPEC.clusters

        def fit_predict(self, vectors):
            np.testing.assert_array_equal(vectors.toarray(), every)
            return cluster_of

    monkeypatch.setattr("hce.training.augmentation.KMeans", Clusters)

    def positions(min_cluster, vectors):
        found, _ = make_vectors(store, changed(min_cluster=min_cluster, vectors=vectors))
        assert len(found) == vectors
        place = {row.tobytes(): i for i, row in enumerate(every)}
        return np.array([place[row.tobytes()] for row in found])

    assert (positions(20, 30) >= 20).all()
    assert (positions(19, 30) < 20).any()
    # Where large clusters hold too few, all vectors are sampled from.
    assert (positions(20, 50) < 20).any()


def test_fewer_vectors_than_wanted_are_all_used_without_clustering(make_store, monkeypatch):
    monkeypatch.setattr("hce.training.augmentation.KMeans", None)
    vectors, _ = make_vectors(make_store()[0], changed(vectors=56))
    assert len(vectors) == 56


def test_with_two_donors_of_each_type_there_are_no_vectors_and_the_log_says_so(make_store, caplog):
    labels = np.arange(N_CELLS) % 4
    store, _ = make_store(labels=labels, donors=np.arange(N_CELLS) % 8)
    vectors, report = make_vectors(store, SPEC)
    assert vectors.shape == (0, N_GENES)
    assert "models are trained without" in caplog.text
    assert dict(report.to_numpy())["vectors"] == 0


def test_rare_types_are_drawn_as_often_as_common_ones():
    labels = np.repeat([0, 1], [90_000, 10_000])
    drawn = draw_cells(labels, 4000, np.random.default_rng(1))
    assert len(np.unique(drawn)) == 4000
    assert (np.diff(drawn) > 0).all()
    # Without replacement the rare type falls a little short of half.
    assert 0.4 < labels[drawn].mean() < 0.52
    assert (draw_cells(labels[:50], 50, np.random.default_rng(1)) == np.arange(50)).all()


def test_pairs_are_distinct_and_of_two_donors():
    donors = np.array([3, 5, 8, 13, 21, 34])
    published = {1: 0, 2: 0, 3: 2, 4: 5, 6: 14}
    for n, number in published.items():
        assert draw_pairs(donors[:n], 99, np.random.default_rng(0)).shape == (number, 2)
    pairs = draw_pairs(donors, 7, np.random.default_rng(0))
    assert len({frozenset(pair) for pair in pairs.tolist()}) == 7
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert np.isin(pairs, donors).all()


class TestPublishedVectors:
    def test_an_array_is_taken_as_float32(self, tmp_path):
        np.save(tmp_path / "v.npy", np.full((3, 5), 0.5))
        vectors = read_published_vectors(tmp_path / "v.npy", 5)
        assert vectors.dtype == np.float32
        assert (vectors == 0.5).all()

    def test_a_checkpoint_gives_the_vectors_that_it_holds(self, tmp_path):
        state = {"classifier.weight": torch.ones(2, 5), "augmentations": torch.ones(3, 5)}
        torch.save({"state_dict": state}, tmp_path / "mlp.ckpt")
        assert read_published_vectors(tmp_path / "mlp.ckpt", 5).shape == (3, 5)
        del state["augmentations"]
        torch.save({"state_dict": state}, tmp_path / "linear.ckpt")
        with pytest.raises(UserError, match=r"linear\.ckpt has no augmentation vectors"):
            read_published_vectors(tmp_path / "linear.ckpt", 5)

    @pytest.mark.parametrize(
        "array", [np.ones((3, 4)), np.ones(5), np.full((3, 5), np.nan)], ids=["genes", "1d", "nan"]
    )
    def test_vectors_of_other_genes_or_without_values_are_refused(self, array, tmp_path):
        np.save(tmp_path / "v.npy", array)
        with pytest.raises(UserError, match=r"v\.npy \(augmentation\.published\) has the shape"):
            read_published_vectors(tmp_path / "v.npy", 5)

    def test_a_file_that_is_no_array_is_refused(self, tmp_path):
        (tmp_path / "v.npy").write_text("text")
        with pytest.raises(UserError, match="no array of numpy"):
            read_published_vectors(tmp_path / "v.npy", 5)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("vectors", 0)], "No augmentation was possible"),
        (
            [("vectors", 5000), ("non-zeros of the vectors, %", np.nan)],
            "one of 5,000 vectors, computed from",
        ),
        ([("published vectors", 7), ("vectors", 7)], "one of 7 vectors, published"),
    ],
)
def test_the_summary_says_what_augmentation_there_was(rows, expected):
    assert expected in augmentation(pd.DataFrame(rows, columns=["quantity", "value"]))
    assert augmentation(None) == ""
