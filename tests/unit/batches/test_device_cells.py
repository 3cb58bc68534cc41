"""Pinning of cells in host memory, with a made-up driver, and the trial of the kernel."""

import gc
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hce.batches import device_cells as module
from hce.batches.densify import Augmentation, SparseCells
from hce.batches.device_cells import kernel_for, pinned

CPU = torch.device("cpu")
GENES = 60


@pytest.fixture
def driver(monkeypatch):
    """A driver that notes what it pins; `refuses` makes it refuse so many bytes and more."""
    made = SimpleNamespace(pinned={}, refuses=None)

    def register(address, size, flags):
        if made.refuses is not None and size >= made.refuses:
            return 1
        made.pinned[address] = size
        return 0

    def unregister(address):
        del made.pinned[address]

    runtime = SimpleNamespace(cudaHostRegister=register, cudaHostUnregister=unregister)
    monkeypatch.setattr(module, "OWN_PAGES", 0)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.cuda.device_of(torch.zeros(1)))
    return made


def test_cells_are_pinned_where_they_are_until_they_are_freed(make_counts, driver):
    counts = make_counts(20, GENES)
    cells = pinned(counts, CPU)
    expected = {array.ctypes.data: array.nbytes for array in (counts.genes, counts.values)}
    assert driver.pinned == expected
    assert cells.genes.data_ptr() == counts.genes.ctypes.data
    assert cells.values.data_ptr() == counts.values.ctypes.data
    del counts
    gc.collect()
    assert driver.pinned == expected  # the tensors keep the memory
    del cells
    gc.collect()
    assert driver.pinned == {}


def test_refused_pinning_is_one_warning_and_no_cells(make_counts, driver, caplog):
    driver.refuses = 1
    assert pinned(make_counts(20, GENES), CPU) is None
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "could not be pinned in host memory (cudaHostRegister: error 1)" in record.message


def cells_on(device, make_counts):
    parts = SparseCells.of(make_counts(20, GENES)).tensors()
    return SparseCells(*(part.to(device) for part in parts))


@pytest.mark.gpu
@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_kernel_with_the_right_numbers_is_taken(make_counts, dtype, augmented, caplog):
    device = pytest.importorskip("triton_here").DEVICE
    vectors = np.random.default_rng(0).normal(0, 1, (3, GENES)).astype(np.float32)
    augmentation = Augmentation(vectors, dtype, device) if augmented else None
    kernel = kernel_for(cells_on(device, make_counts), GENES, 8, dtype, augmentation)
    assert kernel is not None
    assert kernel(torch.tensor([3, 5], device=device), None).shape == (2, GENES)
    assert caplog.text == ""


@pytest.mark.gpu
@pytest.mark.parametrize("wrong", ["the last cell", "a number"])
def test_a_kernel_with_other_numbers_is_not_taken(make_counts, monkeypatch, caplog, wrong):
    device = pytest.importorskip("triton_here").DEVICE
    from hce.batches.densify_kernel import KernelDensifier

    right = KernelDensifier.__call__

    def call(self, chosen, shifts):
        rows = right(self, chosen, shifts)
        if wrong == "a number":
            rows[1, 7] += 1e-3
        else:
            rows[chosen == 19] = 0
        return rows

    monkeypatch.setattr(KernelDensifier, "__call__", call)
    assert kernel_for(cells_on(device, make_counts), GENES, 8, torch.float32, None) is None
    assert "kernel that makes batches cannot be used here (it differs" in caplog.text


def test_without_triton_there_is_no_kernel_and_the_log_says_so(make_counts, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "hce.batches.densify_kernel", None)
    cells = cells_on(CPU, make_counts)
    assert module.kernel_for(cells, GENES, 8, torch.float32, None) is None
    assert "cannot be used here (ModuleNotFoundError" in caplog.text
