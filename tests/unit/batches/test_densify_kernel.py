"""Batches by the kernel for GPUs, in Triton's interpreter where there is none, beside the CPU's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from triton_here import DEVICE  # isort: split

from hce.batches.densify import Augmentation, Densifier, SparseCells
from hce.batches.densify_kernel import KernelDensifier
from hce.batches.in_memory import Batches, ResidentBatches
from hce.batches.part import Part
from hce.store.counts import Counts

pytestmark = pytest.mark.gpu

GENES = 70
KINDS = ["counts", "log1p_cp10k"]
# One in the last place of bfloat16: the interpreter cuts off where a GPU rounds.
TOLERANCE = {
    torch.float32: {"rtol": 1e-6, "atol": 2e-6},
    torch.bfloat16: {"rtol": 2**-7, "atol": 2e-6},
}


def on_device(counts):
    return SparseCells(*(part.to(DEVICE) for part in SparseCells.of(counts).tensors()))


def counts_of(rows, kind="counts"):
    """Counts from one mapping of gene to count per cell."""
    indptr = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
    genes = np.array([gene for row in rows for gene in sorted(row)], dtype=np.uint16)
    values = np.array([row[gene] for row in rows for gene in sorted(row)])
    if kind == "counts":
        return Counts(indptr, genes, values.astype(np.uint16))
    return Counts(indptr, genes, np.log1p(values).astype(np.float32))


def both_ways(counts, chosen, shifts=None, vectors=None, dtype=torch.float32, n_genes=GENES):
    """Rows by compiled loops on the CPU and by the kernel."""
    made = []
    for kernel in (False, True):
        device = DEVICE if kernel else "cpu"
        augmentation = None if vectors is None else Augmentation(vectors, dtype, device)
        if not kernel:
            densify = Densifier(n_genes, len(chosen), dtype, augmentation)
            made.append(densify(counts, chosen, shifts))
            continue
        densify = KernelDensifier(on_device(counts), n_genes, len(chosen), dtype, augmentation)
        by = None if shifts is None else torch.from_numpy(shifts).to(DEVICE)
        made.append(densify(torch.from_numpy(chosen).to(DEVICE), by).cpu())
    return made


def assert_alike(by_loops, by_kernel):
    assert by_kernel.dtype == by_loops.dtype
    torch.testing.assert_close(by_kernel, by_loops, **TOLERANCE[by_loops.dtype])


cells = st.dictionaries(st.integers(0, GENES - 1), st.integers(1, 65_535), max_size=GENES)


@given(
    st.lists(cells, min_size=1, max_size=4),
    st.lists(st.floats(-12, 12, width=32), min_size=GENES, max_size=GENES),
    st.sampled_from(KINDS),
    st.sampled_from(list(TOLERANCE)),
    st.booleans(),
    st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_any_cells_in_any_order_with_any_shift_are_those_of_the_cpu(
    rows, vector, kind, dtype, shifted, random
):
    counts = counts_of(rows, kind)
    chosen = np.array([random.randrange(len(rows)) for _ in range(4)])
    vectors = np.array([vector, vector[::-1]], dtype=np.float32) if shifted else None
    shifts = np.array([random.randrange(4) for _ in chosen]) if shifted else None
    assert_alike(*both_ways(counts, chosen, shifts, vectors, dtype))


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_cells_with_no_gene_every_gene_and_the_largest_counts_are_right(dtype):
    full = dict.fromkeys(range(GENES), 65_535)
    rows = [{}, full, {0: 65_535}, {GENES - 1: 1}, dict.fromkeys(range(GENES), 1), {}]
    vectors = np.linspace(-10, 10, GENES, dtype=np.float32)[None]
    for shifts, own in ((None, None), (np.array([0, 1, 0, 1, 0, 1]), vectors)):
        assert_alike(*both_ways(counts_of(rows), np.arange(6), shifts, own, dtype))


@pytest.mark.parametrize("sign", [0, 1])
def test_the_last_of_65536_genes_and_a_sum_above_32_bits_are_right(sign):
    n_genes = 2**16
    everything = Counts(
        np.array([0, n_genes, n_genes + 1]),
        np.append(np.arange(n_genes), n_genes - 1).astype(np.uint16),
        np.append(np.full(n_genes, 65_535), 1).astype(np.uint16),
    )
    assert everything.values[:n_genes].sum(dtype=np.uint64) > 2**31
    vectors = np.random.default_rng(0).normal(0, 3, (1, n_genes)).astype(np.float32)
    shifts = np.array([sign, sign])
    assert_alike(*both_ways(everything, np.array([1, 0]), shifts, vectors, n_genes=n_genes))
    [plain, found] = both_ways(everything, np.array([1, 0]), n_genes=n_genes)
    assert_alike(plain, found)
    assert found[0, -1] > 9  # a cell with one count has all 10,000 there


def test_rows_of_a_batch_before_leave_nothing_in_the_next(make_counts):
    counts = make_counts(30, GENES)
    densify = KernelDensifier(on_device(counts), GENES, 10, torch.float32, None)
    plain = Densifier(GENES, 10)
    for first in (0, 10, 20):
        chosen = np.arange(first, first + 10 - first // 10)  # the last one is smaller
        found = densify(torch.from_numpy(chosen).to(DEVICE), None)
        assert_alike(plain(counts, chosen, None), found.cpu())


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("augmented", [False, True])
def test_a_seed_gives_the_batches_that_the_cpu_has(make_counts, augmented, world_size):
    part, labels = Part(world_size - 1, world_size), np.arange(25) % 3
    counts = make_counts(25, GENES).take(part.cells(25))
    vectors = np.random.default_rng(0).normal(0, 1, (3, GENES)).astype(np.float32)
    here, there = (
        Augmentation(vectors, torch.float32, device) if augmented else None
        for device in ("cpu", DEVICE)
    )
    held = on_device(counts)
    kernel = KernelDensifier(held, GENES, 8, torch.float32, there)
    sources = (
        Batches(counts, labels, GENES, 8, augmentation=here, part=part),
        ResidentBatches(held, labels, GENES, 8, torch.float32, there, kernel, part),
    )
    made = []
    for source in sources:
        epoch = source.shuffled(np.random.default_rng(5), skip=1)
        made.append([(x.cpu().clone(), y.cpu()) for x, y in epoch])
        made[-1] += [(x.cpu().clone(), y.cpu()) for x, y in source.in_order()]
    assert len(made[0]) == 2 + (4 if world_size == 1 else 3)
    for (x, y), (other_x, other_y) in zip(*made, strict=True):
        assert_alike(x, other_x)
        assert torch.equal(y, other_y)


def test_an_epoch_of_which_nothing_is_left_hands_out_nothing(make_counts):
    counts = make_counts(16, GENES)
    held = on_device(counts)
    kernel = KernelDensifier(held, GENES, 8, torch.float32, None)
    batches = ResidentBatches(held, np.zeros(16, int), GENES, 8, kernel=kernel)
    assert list(batches.shuffled(np.random.default_rng(0), skip=2)) == []
