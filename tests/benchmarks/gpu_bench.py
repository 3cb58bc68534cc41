"""A card and cells to train on, for what `gpu_check` measures, and how a measure may fail alone."""

import math
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bench_loss_step import hierarchy
from harness import Result
from torch import Tensor, nn

from hce.batches.densify import Augmentation
from hce.batches.in_memory import BatchSource
from hce.batches.placement import open_batches
from hce.losses import HierarchicalLoss, build_loss
from hce.models import build_model
from hce.store.cell_store import CellStore, describe_store
from hce.store.counts import Counts
from hce.store.shards import describe_shard, write_shard
from hce.training.captured import TRIALS, recorded_where_possible
from hce.training.device import BATCH_DTYPES
from hce.training.loop import ALONE, training_step
from hce.training.optimizer import build_optimizer

MODELS = ("linear", "mlp", "tabnet")
VECTORS = 200
WARM_UP = TRIALS + 3  # a step is recorded meanwhile
LR = 2.0**-11  # about that of the linear model, and the same in float32
DISTINCT = 8192
SHARDS = 16  # that as many cores can decode

Use = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Bench:
    """A card and cells to train on.

    Attributes:
        device: the card; or the CPU, on which all is tried at small size.
        store: the cells.
        batch_size: cells a batch.
        steps: timed steps at most.
        speed: what was measured by name, for rows that are compared with others.
    """

    device: torch.device
    store: CellStore
    batch_size: int
    steps: int
    speed: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.n_genes = len(self.store.genes)
        self.types = hierarchy()
        self.nonzeros = self.store.manifest["nonzeros"] / len(self.store)
        rng = np.random.default_rng(1)
        self.vectors = rng.normal(0, 0.1, (VECTORS, self.n_genes)).astype(np.float32)

    def wait(self) -> None:
        """Until the card has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, call: Callable[[], object]) -> float:
        """What a call takes, with all that it makes the card do."""
        self.wait()
        start = time.perf_counter()
        call()
        self.wait()
        return time.perf_counter() - start

    def batches(self, residency: str, precision: str, augmented: bool) -> BatchSource:
        """The cells as a fit has them."""
        dtype = BATCH_DTYPES[precision]
        shifts = Augmentation(self.vectors, dtype, self.device) if augmented else None
        return open_batches(self.store, residency, self.batch_size, self.device, dtype, shifts)

    def trainer(
        self, name: str, loss: str, device: torch.device | None = None
    ) -> tuple[nn.Module, HierarchicalLoss]:
        """A model and a loss, the same weights each time."""
        device = device or self.device
        torch.manual_seed(0)
        model = build_model(name, self.n_genes, len(self.types)).to(device)
        reachability = torch.from_numpy(self.types.reachability)
        made = build_loss(loss, reachability, torch.ones(len(self.types))).to(device)
        if made.by_study:  # of one study, so that the labels are the targets
            made.take_targets(torch.arange(len(self.types)), reachability)
        return model, made

    def stepper(self, name: str, loss: str, ordinary: bool = False) -> tuple[nn.Module, Use]:
        """A model, and steps as a fit takes them, or as they are written."""
        model, made = self.trainer(name, loss)
        optimizer = build_optimizer(model, lr=LR, weight_decay=0.01)
        step = recorded_where_possible(training_step, self.device, ALONE)
        if ordinary:
            step = training_step
        return model, lambda x, y: step(model, made, optimizer, 1.0, x, y)

    def cells_a_second(self, source: BatchSource, use: Callable[[Tensor, Tensor], object]) -> float:
        """Of batches that are made and used, after some that are not timed."""
        epoch = source.shuffled(np.random.default_rng(0))
        for expression, labels in islice(epoch, WARM_UP):
            use(expression, labels)
        cells = 0

        def rest() -> None:
            nonlocal cells
            for expression, labels in islice(epoch, self.steps):
                use(expression, labels)
                cells += len(labels)

        seconds = self.seconds(rest)
        return cells / seconds


def attempted(what: str, rows: Iterable[Result]) -> Iterator[Result]:
    """Some rows; and where an error ends them, one that says which, so that others go on."""
    try:
        yield from rows
    except Exception as error:  # drivers and compilers raise what they like
        traceback.print_exc()
        yield failed(what, f"{type(error).__name__}: {error}")


def failed(what: str, reason: str) -> Result:
    """A row in place of those that could not be measured."""
    return Result(f"failed: {what}", math.nan, " ".join(reason.split())[:200], None, None, 0.0)


def simulated_store(folder: Path, n_cells: int, n_genes: int, nonzeros: int) -> CellStore:
    """Made-up cells with about so many genes each; some thousands of them are repeated."""
    rng = np.random.default_rng(0)
    common = rng.beta(0.3, 2.1, n_genes).astype(np.float32)
    seen = (common * nonzeros / common.sum()).clip(max=0.95)
    distinct = min(n_cells, DISTINCT)
    cells = [np.flatnonzero(rng.random(n_genes, dtype=np.float32) < seen) for _ in range(distinct)]
    indptr = np.concatenate([[0], np.cumsum([len(cell) for cell in cells])])
    values = rng.geometric(0.5, indptr[-1]).astype(np.uint16)
    counts = Counts(indptr, np.concatenate(cells).astype(np.uint16), values)
    ids = np.arange(n_cells, dtype=np.int64)
    shards = []
    for number, own in enumerate(np.array_split(ids, SHARDS)):
        file = folder / f"shard-{number:05d}.arrow"
        shards.append(describe_shard(file, write_shard(file, [(own, counts.take(own % distinct))])))
    labels = rng.integers(0, len(hierarchy()), n_cells).astype(np.int16)
    table = pd.DataFrame({"soma_joinid": ids, "label": labels})
    names = [f"g{gene}" for gene in range(n_genes)]
    genes = pd.DataFrame({"feature_id": names, "feature_name": names})
    describe_store(folder, "counts", table, genes, shards, {})
    return CellStore.open(folder)
