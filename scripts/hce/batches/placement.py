"""Where the cells of a fit stay: in GPU memory, in host memory, or on disk."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from hce.batches.densify import Augmentation, SparseCells
from hce.batches.in_memory import Batches, BatchSource, ResidentBatches
from hce.batches.on_disk import StreamedBatches
from hce.errors import UserError
from hce.store.cell_store import CellStore, decode_cells, open_shard

logger = logging.getLogger(__name__)

# From what needs most memory to what needs least.
RESIDENCIES = ("gpu", "host", "disk")
# Record batches that are looked at to tell the size of a store; its cells are shuffled.
SAMPLED = 8
# A gene and a count of 16 bits each; normalised values take 32.
NONZERO_BYTES = {"counts": 4, "log1p_cp10k": 6}
CELL_BYTES = 8
# For the model, its optimiser, dense batches and what is kept for the backward pass.
GPU_RESERVE = 8 * 2**30
# Of dense batches, predictions and Python itself.
HOST_RESERVE = 2 * 2**30
CGROUP = Path("/sys/fs/cgroup")


def bytes_in_memory(store: CellStore) -> int:
    """What the cells of a store take in memory, from a sample of its record batches."""
    shards = store.manifest["shards"]
    cells = nonzeros = 0
    for i in np.unique(np.linspace(0, len(shards) - 1, SAMPLED).astype(int)):
        with open_shard(store.path / shards[i]["file"]) as reader:
            counts = decode_cells(reader.get_batch(0))[1]
        cells += len(counts)
        nonzeros += len(counts.genes)
    a_cell = CELL_BYTES + NONZERO_BYTES[store.manifest["values"]] * nonzeros / max(cells, 1)
    return int(a_cell * len(store))


def free_host_memory() -> int:
    """Bytes that this process may still take: of the machine, and of its job's share of it.

    What only caches files counts as free. The share is that of version 2 control groups, which
    SLURM and containers set.
    """
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    own = Path("/proc/self/cgroup").read_text(encoding="utf-8").strip().rpartition("::")[2]
    group = CGROUP / own.strip("/")
    for folder in (group, *group.parents):
        try:
            limit = int((folder / "memory.max").read_text())
            used = int((folder / "memory.current").read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # no such file, or "max": no limit
            continue
        free = min(free, limit - used + int(stat["active_file"]) + int(stat["inactive_file"]))
    return free


def choose_residency(asked: str, size: int, device: torch.device, processes: int = 1) -> str:
    """Where cells stay.

    Args:
        asked: the config's training.residency: auto, gpu, host or disk.
        size: bytes of the cells in memory, of all sets of the fit.
        device: where the model is.
        processes: that share this machine's memory; each holds all cells.

    Returns:
        "gpu", "host" or "disk"; for auto the first of them that is large enough.

    Raises:
        UserError: what is asked for is not there or too small.
    """
    needed_gpu, free_gpu = size + GPU_RESERVE, 0
    if device.type == "cuda":
        free_gpu = torch.cuda.mem_get_info(device)[0]
    elif asked == "gpu":
        raise UserError(
            f"training.residency is gpu, but the fit runs on {device.type}: set it to host or "
            "auto, or training.device to cuda."
        )
    # On the way to a GPU the cells come through host memory.
    needed_host, free_host = processes * (size + HOST_RESERVE), free_host_memory()
    fits_host = needed_host <= free_host
    fits_gpu = device.type == "cuda" and needed_gpu <= free_gpu and fits_host
    if asked == "gpu" and not fits_gpu:
        raise UserError(
            f"training.residency is gpu, but the cells need {_gb(needed_gpu)} of GPU memory, of "
            f"which {_gb(free_gpu)} are free, and {_gb(needed_host)} of host memory on the way, of "
            f"which {_gb(free_host)} are free: set it to disk or auto."
        )
    if asked == "host" and not fits_host:
        raise UserError(
            f"training.residency is host, but the cells need {_gb(needed_host)} of memory, and "
            f"{_gb(free_host)} are free: set it to disk, or ask for more memory."
        )
    if asked != "auto":
        return asked
    return "gpu" if fits_gpu else "host" if fits_host else "disk"


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB"


def open_batches(
    store: CellStore,
    residency: str,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype,
    augmentation: Augmentation | None = None,
    sparse: bool = False,
    labels: np.ndarray | None = None,
) -> BatchSource:
    """The cells of a store as batches.

    Args:
        store: the cells.
        residency: "gpu", "host" or "disk".
        batch_size: cells a batch.
        device: where batches go.
        dtype: of the batches, float32 or bfloat16.
        augmentation: of shuffled cells, on the device; None for none.
        sparse: whether batches on the CPU may stay sparse, see `models.takes_sparse`.
        labels: integer (cells,), what the batches carry; None: the cells' labels.
    """
    if labels is None:
        labels = store.cells(["label"])["label"].to_numpy()
    if residency == "disk":
        return StreamedBatches(
            store, labels, batch_size, device, dtype, augmentation, sparse=sparse
        )
    counts, n_genes = store.load(), len(store.genes)
    if residency == "host":
        return Batches(counts, labels, n_genes, batch_size, device, dtype, augmentation, sparse)
    cells = SparseCells(*(part.to(device) for part in SparseCells.of(counts).tensors()))
    return ResidentBatches(cells, labels, n_genes, batch_size, dtype, augmentation)


@contextmanager
def explaining_memory(residency: str, batch_size: int) -> Iterator[None]:
    """Turns running out of memory into a sentence that says what to change.

    Raises:
        UserError: memory ran out, on the GPU or the host.
    """
    cure = f"lower training.batch_size (now {batch_size:,})"
    try:
        yield
    except torch.OutOfMemoryError as error:
        elsewhere = " or set training.residency to host or disk" if residency == "gpu" else ""
        raise UserError(f"The GPU ran out of memory: {cure}{elsewhere}.") from error
    except (MemoryError, RuntimeError) as error:
        # torch's allocator of host memory has no error of its own.
        if not isinstance(error, MemoryError) and "can't allocate memory" not in str(error):
            raise
        elsewhere = "" if residency == "disk" else " or set training.residency to disk"
        raise UserError(f"The host ran out of memory: {cure}{elsewhere}.") from error


def total_bytes(stores: Mapping[str, CellStore]) -> int:
    """What the cells of some stores take in memory together."""
    return sum(bytes_in_memory(store) for store in stores.values())
