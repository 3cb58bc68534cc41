"""Where the cells of a fit stay: in GPU memory, in host memory, or on disk."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import torch

from hce.batches.densify import Augmentation, SparseCells
from hce.batches.device_cells import kernel_for, pinned
from hce.batches.in_memory import Batches, BatchSource, ResidentBatches
from hce.batches.memory import (
    GPU_RESERVE,
    HOST_RESERVE,
    describe_bytes,
    free_host_memory,
)
from hce.batches.on_disk import StreamedBatches
from hce.batches.part import WHOLE, Part
from hce.errors import UserError
from hce.store.cell_store import CellStore
from hce.store.encoding import decode_rows
from hce.store.manifest import bytes_in_memory

logger = logging.getLogger(__name__)

# While cells are streamed: dense batches, and at most so much of cells that are being shuffled.
STREAMING_RESERVE = 2**29
STREAMING_BUFFERS = 2**30
# Begins the line of a fit's log that the provenance is read from.
PLACED = "The cells stay in: "


def choose_residency(
    asked: str,
    size: int,
    device: torch.device,
    given_mb: int | None = None,
    processes: int = 1,
    nodes: int = 1,
) -> str:
    """Where cells stay; why is one line of the log.

    Args:
        asked: the config's training.residency: auto, gpu, host or disk.
        size: bytes of the cells in memory, of all sets of the fit.
        device: where the model is.
        given_mb: memory that the job was given on this machine, 10^6 bytes; None: not known.
        processes: that share this machine's memory.
        nodes: machines with so many processes each; every process holds its part of the cells.

    Returns:
        "gpu", "host" or "disk"; for auto the first of them that is large enough.

    Raises:
        UserError: what is asked for is not there or too small.
    """
    if asked == "gpu" and device.type != "cuda":
        raise UserError(
            f"training.residency is gpu, but the fit runs on {device.type}: set it to host or "
            "auto, or training.device to cuda."
        )
    free_host = free_host_memory(given_mb, processes)
    part = -(-size // (processes * nodes))
    needed = {}
    if device.type == "cuda":  # block by block, so that the host need not hold the cells
        needed["gpu"] = part + GPU_RESERVE, torch.cuda.mem_get_info(device)[0]
    needed["host"] = processes * (part + HOST_RESERVE), free_host
    streamed = STREAMING_RESERVE + min(size, STREAMING_BUFFERS)
    needed["disk"] = processes * streamed, free_host
    room = {place: enough <= free for place, (enough, free) in needed.items()}
    figures = ", ".join(
        f"{place} {describe_bytes(enough)} of {describe_bytes(free)} free"
        for place, (enough, free) in needed.items()
    )
    given = "" if given_mb is None else f"; the job was given {given_mb / 1000:.1f} GB"
    if not room["disk"]:
        raise UserError(
            f"The fit has too little memory to train at all ({figures}{given}): ask for more, "
            "set-resources fit: mem_mb in the profile."
        )
    chosen = asked if asked != "auto" else next(place for place in needed if room[place])
    if not room[chosen]:
        raise UserError(
            f"training.residency is {asked}, but the cells need more than there is ({figures}"
            f"{given}): set it to disk or auto, or ask for more memory."
        )
    logger.log(
        logging.WARNING if chosen == "disk" != asked else logging.INFO,
        "%s%s (training.residency %s; they take %s; needed: %s%s)",
        *(PLACED, chosen, asked, describe_bytes(size), figures, given),
    )
    return chosen


def open_batches(
    store: CellStore,
    residency: str,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype,
    augmentation: Augmentation | None = None,
    sparse: bool = False,
    labels: np.ndarray | None = None,
    part: Part = WHOLE,
) -> BatchSource:
    """The cells of a store as batches.

    Args:
        store: the cells.
        residency: "gpu", "host" or "disk".
        batch_size: cells a batch.
        device: where batches go.
        dtype: of the batches, float32 or bfloat16.
        augmentation: of shuffled cells, on the device; None for none.
        sparse: whether batches on the CPU may be split, see `models.takes_sparse`.
        labels: integer (cells,), what the batches carry; None: the cells' labels.
        part: what this process takes; of cells in memory it holds no others.
    """
    if labels is None:
        labels = store.cells(["label"])["label"].to_numpy()
    if residency == "disk":
        return StreamedBatches(
            store, labels, batch_size, device, dtype, augmentation, sparse=sparse, part=part
        )
    own, n_genes = part.cells(len(store)), len(store.genes)
    size, on_gpu = min(part.of_batch(batch_size), len(own)), device.type == "cuda"
    if residency == "gpu":
        cells = _load_to(store, own, device)
        kernel = kernel_for(cells, n_genes, size, dtype, augmentation) if on_gpu else None
        return ResidentBatches(
            cells, labels, n_genes, batch_size, dtype, augmentation, kernel, part
        )
    counts = store.load(own)
    if on_gpu and (held := pinned(counts, device)) is not None:
        kernel = kernel_for(held, n_genes, size, dtype, augmentation)
        if kernel is not None:
            return ResidentBatches(
                held, labels, n_genes, batch_size, dtype, augmentation, kernel, part
            )
    return Batches(counts, labels, n_genes, batch_size, device, dtype, augmentation, sparse, part)


def _load_to(store: CellStore, cells: np.ndarray, device: torch.device) -> SparseCells:
    """Some cells of a store on a device; the host holds a block of them for each core."""
    starts = store.starts(cells)
    kind = torch.int16 if store.manifest["values"] == "counts" else torch.float32
    genes = torch.empty(int(starts[-1]), dtype=torch.int16, device=device)
    values = torch.empty(int(starts[-1]), dtype=kind, device=device)

    def keep(first: int, batch: pa.RecordBatch, rows: np.ndarray) -> None:
        block = SparseCells.of(decode_rows(batch, rows))
        place = slice(int(starts[first]), int(starts[first + len(rows)]))
        genes[place].copy_(block.genes)
        values[place].copy_(block.values)

    store.visit(keep, cells)
    return SparseCells(torch.from_numpy(starts).to(device), genes, values)


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
    return sum(bytes_in_memory(store.manifest) for store in stores.values())
