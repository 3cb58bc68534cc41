"""Where the time of a training step goes: `python -m hce.training.profiling --store FOLDER`."""

import argparse
import os
import time
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import nn

from hce.batches.densify import Augmentation, read_vectors
from hce.batches.in_memory import Batch
from hce.batches.placement import choose_residency, open_batches, total_bytes
from hce.errors import UserError
from hce.losses import LOSSES, HierarchicalLoss, build_loss
from hce.models import MODELS, build_model, takes_sparse
from hce.store.cell_store import CellStore
from hce.training.device import BATCH_DTYPES, prepare_device
from hce.training.loop import training_step
from hce.training.optimizer import build_optimizer

PARTS = ["loader", "forward", "loss", "backward", "optimiser"]


class Stopwatch:
    """Adds up the time of named parts, each since the part before it.

    On a GPU, a part ends when the GPU has done it; so nothing overlaps, and the sum is above what
    a step takes in a fit.

    Attributes:
        seconds: part → seconds in all.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._last = time.perf_counter()

    def mark(self, part: str) -> None:
        """The part is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[part] += now - self._last
        self._last = now


def profile(
    model: nn.Module,
    loss: HierarchicalLoss,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    warm_up: int = 5,
) -> tuple[int, Mapping[str, float]]:
    """Trains on batches and times the parts of a step.

    Waiting for a batch is "loader": reading, copying and densifying as far as they do not overlap
    with the step before.

    Args:
        model: on the device of the batches.
        loss: on the same device.
        optimizer: of the model's weights.
        batches: what to train on, more than warm_up.
        warm_up: batches that are not timed at first.

    Returns:
        Cells and seconds of each of `PARTS`, of the timed batches.

    Raises:
        UserError: there are no batches after the warm-up.
    """
    model.train()
    cells, watch = 0, None
    for number, (expression, labels) in enumerate(batches):
        if watch is not None:
            watch.mark("loader")
            cells += len(labels)
        mark = (lambda part: None) if watch is None else watch.mark
        training_step(model, loss, optimizer, 1.0, expression, labels, mark=mark)
        if number + 1 == warm_up:
            watch = Stopwatch(expression.device)
    if watch is None or cells == 0:
        raise UserError(
            f"The store has no more than {warm_up} batches, which is too few to time: lower "
            "--batch-size or take a larger store."
        )
    return cells, watch.seconds


def table(cells: int, seconds: Mapping[str, float], batch_size: int) -> str:
    """Milliseconds a batch and share of each part, and cells a second."""
    total, steps = sum(seconds.values()), cells / batch_size
    lines = [
        f"{part:<10}{1e3 * value / steps:10.1f} ms{value / total:8.1%}"
        for part, value in seconds.items()
    ]
    lines.append(f"{'together':<10}{1e3 * total / steps:10.1f} ms   {cells / total:,.0f} cells/s")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m hce.training.profiling", description=__doc__)
    parser.add_argument("--store", required=True, help="folder of a store, for example train")
    parser.add_argument("--model", default="linear", help=f"{', '.join(MODELS)} or module:Class")
    parser.add_argument("--loss", default="hce", help=f"{', '.join(LOSSES)} or module:Class")
    parser.add_argument("--precision", choices=BATCH_DTYPES, default="tf32")
    parser.add_argument("--residency", choices=["auto", "gpu", "host", "disk"], default="auto")
    parser.add_argument("--augmentation", help="vectors.npy; default: none")
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args(arguments)
    try:
        print(run(options))
    except UserError as error:
        parser.exit(1, f"Error: {error}\n")


def run(options: argparse.Namespace) -> str:
    """Profiles one epoch of a store; what is printed."""
    device = prepare_device(options.device, options.threads, options.precision)
    store, dtype = CellStore.open(options.store), BATCH_DTYPES[options.precision]
    residency = choose_residency(options.residency, total_bytes({"": store}), device)
    augmentation = None
    if options.augmentation:
        vectors = read_vectors(options.augmentation, len(store.genes))
        augmentation = Augmentation(vectors, dtype, device)
    # What types are below what others is of no importance for the time, nor are the weights.
    n_types = int(store.cells()["label"].max()) + 1
    below = torch.ones(n_types, n_types, dtype=torch.bool).triu()
    model = build_model(options.model, len(store.genes), n_types).to(device)
    batches = open_batches(
        store, residency, options.batch_size, device, dtype, augmentation, takes_sparse(model)
    )
    loss = build_loss(options.loss, below, torch.ones(n_types)).to(device)
    if loss.by_study:  # of one study, so that the labels are the targets
        loss.take_targets(torch.arange(n_types), below)
    optimizer = build_optimizer(model, lr=1e-3, weight_decay=0.01)
    shuffled = batches.shuffled(np.random.default_rng(0))
    cells, seconds = profile(model, loss, optimizer, shuffled)
    head = (
        f"{options.model}, {options.loss}, {options.precision} on {device}, cells in: {residency}"
    )
    return f"{head}\n{table(cells, seconds, options.batch_size)}"


if __name__ == "__main__":
    main()
