"""Cells that a GPU reads by itself, from its own memory or from pinned host memory, by a kernel."""

import logging
import weakref

import numpy as np
import torch
from torch import Tensor

from hce.batches.densify import Augmentation, SparseCells, TensorDensifier
from hce.batches.in_memory import DenseRows
from hce.kernels import trusted
from hce.store.counts import Counts

logger = logging.getLogger(__name__)

# Arrays of so many bytes have pages of their own; smaller ones may share them with others, and a
# page can be pinned once.
OWN_PAGES = 2**26
PORTABLE, MAPPED = 1, 2  # flags of cudaHostRegister: for all GPUs, and for their kernels


def pinned(counts: Counts, device: torch.device) -> SparseCells | None:
    """Cells in host memory that a GPU can read; their memory is pinned where it is.

    Args:
        counts: of the cells; changed in nothing but that their pages stay where they are.
        device: the GPU.

    Returns:
        The cells, `indptr` on the device; or None where pinning is refused, which is logged.
    """
    cells = SparseCells.of(counts)
    try:
        with torch.cuda.device(device):
            genes = _pin(counts.genes, cells.genes, device)
            values = _pin(counts.values, cells.values, device)
    except RuntimeError as error:
        logger.warning(
            "The cells could not be pinned in host memory (%s): batches are copied to the GPU, "
            "slower than it would read them by itself.",
            error,
        )
        return None
    return SparseCells(cells.indptr.to(device), genes, values)


def _pin(array: np.ndarray, tensor: Tensor, device: torch.device) -> Tensor:
    """Pins an array until it is freed, and a tensor that shares its memory with it.

    torch's own pinned memory is rounded up to a power of two, perhaps to twice the cells; so it
    only serves small arrays.

    Raises:
        RuntimeError: the driver refuses.
    """
    if array.nbytes < OWN_PAGES:
        return tensor.pin_memory()
    runtime = torch.cuda.cudart()
    status = int(runtime.cudaHostRegister(array.ctypes.data, array.nbytes, PORTABLE | MAPPED))
    if status != 0:
        _forget_error(device)
        raise RuntimeError(f"cudaHostRegister: error {status}")
    # When the process ends the driver lets go by itself.
    weakref.finalize(array, runtime.cudaHostUnregister, array.ctypes.data).atexit = False
    return tensor


def _forget_error(device: torch.device) -> None:
    """CUDA reports an error that was handled once more, to whatever is launched next."""
    try:
        torch.zeros(1, device=device)
    except RuntimeError:
        logger.debug("the refused pinning was reported a second time, as expected")


def kernel_for(
    cells: SparseCells,
    n_genes: int,
    batch_size: int,
    dtype: torch.dtype,
    augmentation: Augmentation | None,
) -> DenseRows | None:
    """The kernel that makes batches of some cells, if it can be used here.

    It is tried on a batch of cells from the first to the last, with shifts of both signs, and held
    against tensor operations.

    Args:
        cells: see `KernelDensifier`.
        n_genes: width of a batch.
        batch_size: cells a batch at most.
        dtype: of the batches, float32 or bfloat16.
        augmentation: None for none; on the device.

    Returns:
        None where the kernel does not run or gives other numbers, which is logged.
    """
    device, last = cells.indptr.device, len(cells.indptr) - 2
    made: list[DenseRows] = []

    def attempt() -> tuple[Tensor, Tensor]:
        from hce.batches.densify_kernel import KernelDensifier

        made.append(KernelDensifier(cells, n_genes, batch_size, dtype, augmentation))
        chosen = torch.from_numpy(np.linspace(0, last, batch_size).astype(np.int64)).to(device)
        shifts = None
        if augmentation is not None:
            shifts = torch.arange(batch_size, device=device) % len(augmentation.background)
        by_tensors = TensorDensifier(n_genes, batch_size, dtype, augmentation, device)
        return made[0](chosen, shifts), by_tensors(_take(cells, chosen), shifts)

    return made[0] if trusted("makes batches", attempt) else None


def _take(cells: SparseCells, chosen: Tensor) -> SparseCells:
    """Some cells on the device of `chosen`, wherever they are."""
    place = cells.genes.device
    nearby = SparseCells(cells.indptr.to(place), cells.genes, cells.values)
    positions = chosen.to(place)
    nonzeros = int((nearby.indptr[positions + 1] - nearby.indptr[positions]).sum())
    taken = nearby.take(positions, nonzeros)
    return SparseCells(*(part.to(chosen.device) for part in taken.tensors()))
