"""Dense batches, made by compiled loops and by tensor operations, beside plain float64."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hce.batches.densify import Augmentation, SparseCells, TensorDensifier, read_vectors
from hce.batches.in_memory import Batches, Feed, ResidentBatches, SparseBatch, prefetched
from hce.errors import UserError
from hce.store.counts import Counts

CELLS, GENES = 103, 200
CPU = torch.device("cpu")
LABELS = np.arange(CELLS) % 5
KINDS = ["counts", "log1p_cp10k"]
DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture
def counts(make_counts):
    def make(kind="counts", seed=4):
        made = make_counts(CELLS, GENES, seed)
        if kind == "counts":
            return made
        return Counts(made.indptr, made.genes, np.log1p(made.values, dtype=np.float32))

    return make


def vectors(n=7, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (n, GENES)).astype(np.float32)


def expected(counts, shifts=None):
    """Normalised and shifted cells, one by one, in float64."""
    dense = np.zeros((len(counts), GENES))
    for cell in range(len(counts)):
        own = slice(counts.indptr[cell], counts.indptr[cell + 1])
        values = counts.values[own].astype(float)
        if counts.kind == "counts":
            values = np.log1p(values * 1e4 / max(values.sum(), 1))
        dense[cell, counts.genes[own]] = values
    if shifts is None:
        return dense
    signed = np.concatenate([vectors(), -vectors()]).astype(float)
    return np.clip(dense + signed[shifts], 0, 9)


def feed(n_genes, n_cells, dtype, augmentation, by_tensors):
    """A feed on the CPU, which densifies as a GPU would if `by_tensors`."""
    made = Feed(n_genes, n_cells, CPU, dtype, augmentation)
    if by_tensors:
        made._densify = TensorDensifier(n_genes, n_cells, dtype, augmentation, CPU)
    return made


@pytest.mark.parametrize("by_tensors", [False, True])
@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_normalised_and_shifted_as_in_plain_float64(
    counts, kind, dtype, augmented, by_tensors
):
    whole = counts(kind)
    cells = np.random.default_rng(1).permutation(CELLS)
    shifts = np.random.default_rng(2).integers(0, 14, CELLS) if augmented else None
    batch = SparseBatch(whole, cells, torch.from_numpy(LABELS[cells]), shifts)
    augmentation = Augmentation(vectors(), dtype) if augmented else None
    [(found, labels)] = feed(GENES, CELLS, dtype, augmentation, by_tensors)([batch])
    assert found.dtype == dtype
    tolerance = (
        {"rtol": 2e-6, "atol": 2e-6} if dtype == torch.float32 else {"rtol": 2**-8, "atol": 1e-6}
    )
    np.testing.assert_allclose(found.double(), expected(whole.take(cells), shifts), **tolerance)
    assert (labels.numpy() == LABELS[cells]).all()


def test_cells_that_follow_each_other_are_sent_to_a_device_as_they_lie(counts, monkeypatch):
    whole, cells = counts(), np.arange(20)
    batch = SparseBatch(whole.slice(5, 25), cells, torch.from_numpy(LABELS[5:25]), None)
    monkeypatch.setattr(Counts, "take", None)
    [(found, _)] = feed(GENES, 20, torch.float32, None, by_tensors=True)([batch])
    monkeypatch.undo()
    [(wanted, _)] = feed(GENES, 20, torch.float32, None, by_tensors=False)([batch])
    torch.testing.assert_close(found, wanted)


def copies(made):
    return [(x.clone(), y.clone()) for x, y in made]


def epoch(batches, seed=0, skip=0):
    return copies(batches.shuffled(np.random.default_rng(seed), skip=skip))


def host_and_resident(counts, dtype, augmented):
    augmentation = Augmentation(vectors(), dtype) if augmented else None
    host = Batches(counts, LABELS, GENES, 20, "cpu", dtype, augmentation)
    cells = SparseCells.of(counts)
    return host, ResidentBatches(cells, LABELS, GENES, 20, dtype, augmentation)


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_host_and_resident_cells_give_the_same_batches_bit_for_bit(counts, kind, dtype, augmented):
    host, resident = host_and_resident(counts(kind), dtype, augmented)
    pairs = [*zip(epoch(host), epoch(resident), strict=True)]
    pairs += zip(copies(host.in_order()), copies(resident.in_order()), strict=True)
    assert len(pairs) == 5 + 6
    for (x, y), (other_x, other_y) in pairs:
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)


@pytest.mark.parametrize("place", [0, 1])
def test_batches_that_are_skipped_leave_the_rest_of_the_epoch_as_it_was(counts, place):
    batches = host_and_resident(counts(), torch.float32, augmented=True)[place]
    whole, rest = epoch(batches), epoch(batches, skip=3)
    assert [len(y) for _, y in rest] == [20, 20]
    for (x, y), (other_x, other_y) in zip(whole[3:], rest, strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)


def test_shuffled_cells_are_augmented_anew_in_each_epoch_and_cells_in_order_never(counts):
    batches, _ = host_and_resident(counts(), torch.float32, augmented=True)
    batches.labels = torch.arange(CELLS)
    plain = torch.cat([x.clone() for x, _ in batches.in_order()])
    np.testing.assert_allclose(plain, expected(counts()), rtol=2e-6)
    epochs = [epoch(batches, seed) for seed in (0, 1)]
    # A cell that both epochs have: shifted, and by different vectors.
    first, second = (
        {int(c): row for x, y in made for c, row in zip(y, x, strict=True)} for made in epochs
    )
    shared = first.keys() & second.keys()
    assert all((first[cell] != plain[cell]).any() for cell in shared)
    assert sum(torch.equal(first[cell], second[cell]) for cell in shared) < len(shared) / 3


def test_every_vector_is_drawn_with_both_signs_equally_often():
    drawn = Augmentation(vectors(2)).draw(np.random.default_rng(0), 40_000)
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 40_000, 0.25, atol=0.01)


@given(
    st.lists(st.lists(st.integers(1, 65_535), max_size=6), min_size=1, max_size=5),
    st.lists(st.floats(-20, 20, width=32), min_size=6, max_size=6),
    st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_any_cell_is_zero_to_nine_after_augmentation_and_alike_both_ways(rows, vector, negative):
    indptr = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
    genes = np.concatenate([np.arange(len(row)) for row in rows]).astype(np.uint16)
    values = np.concatenate([np.array(row, dtype=np.uint16) for row in rows])
    counts = Counts(indptr, genes, values.astype(np.uint16))
    shifts = np.full(len(rows), int(negative), dtype=np.int64)
    batch = SparseBatch(counts, np.arange(len(rows)), torch.zeros(len(rows)), shifts)
    made = []
    for by_tensors in (False, True):
        augmentation = Augmentation(np.array([vector], dtype=np.float32))
        [(found, _)] = feed(6, 8, torch.float32, augmentation, by_tensors)([batch])
        assert found.min() >= 0
        assert found.max() <= 9
        made.append(found.clone())
    assert torch.equal(*made)


@pytest.mark.parametrize("content", [None, np.ones((3, 4)), np.ones(5), np.full((2, 5), np.nan)])
def test_vectors_that_do_not_fit_the_genes_are_refused(content, tmp_path):
    path = tmp_path / "vectors.npy"
    if content is None:
        path.write_bytes(b"cut off")
    else:
        np.save(path, content)
    with pytest.raises(UserError, match=r"vectors\.npy holds no vectors of 5 genes"):
        read_vectors(path, 5)
    np.save(path, np.ones((3, 5)))
    assert read_vectors(path, 5).dtype == np.float32


def test_a_batch_is_not_spoilt_by_the_next_that_is_made_meanwhile(counts):
    batches, _ = host_and_resident(counts(), torch.float32, augmented=False)
    whole = expected(counts())
    first = 0
    for x, _ in batches.in_order():
        time.sleep(0.02)  # time enough for the next
        np.testing.assert_allclose(x, whole[first : first + len(x)], rtol=2e-6)
        first += len(x)


def test_an_error_while_a_batch_is_made_reaches_the_caller_after_the_batches_before_it():
    def items():
        yield 1
        yield 2
        raise ValueError("on the way to 3")

    stream = prefetched(items())
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(ValueError, match="on the way to 3"):
        next(stream)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gpu_makes_the_same_batches_from_host_memory_and_from_its_own(counts, dtype):
    whole, device = counts(), torch.device("cuda")
    here = Batches(whole, LABELS, GENES, 20, "cpu", dtype, Augmentation(vectors(), dtype))
    augmentation = Augmentation(vectors(), dtype, device)
    host = Batches(whole, LABELS, GENES, 20, device, dtype, augmentation)
    cells = SparseCells(*(part.to(device) for part in SparseCells.of(whole).tensors()))
    resident = ResidentBatches(cells, LABELS, GENES, 20, dtype, augmentation)
    for a, b, c in zip(epoch(here), epoch(host), epoch(resident), strict=True):
        assert torch.equal(b[0], c[0])
        assert torch.equal(b[1], c[1])
        # The logarithms of a GPU differ in the last bit.
        torch.testing.assert_close(
            a[0], b[0].cpu(), rtol=1e-2 if dtype != torch.float32 else 1e-6, atol=1e-6
        )
