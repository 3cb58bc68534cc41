"""Whether a card's numbers are the CPU's and its own, for `gpu_check`; rows of its table."""

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from gpu_bench import MODELS, Bench, attempted, simulated_store
from harness import Result
from torch import Tensor, nn

from hce.batches.in_memory import BatchSource
from hce.decoding import Decoder
from hce.evaluation.predict import predict
from hce.models.trained_model import TrainedModel
from hce.store.cell_store import CellStore
from hce.training.device import compute_logits

COMPARED = 20  # steps of which replayed and ordinary ones are compared
REPEATED = 30  # steps that are taken twice
# Largest difference from the CPU, in times of the largest number.
EQUAL = 1e-5
DECODERS = ("argmax", "ancestor_sum", "hierarchical_f1", "back_off_0.9")
# Share of answers that may differ: of two that are equally good but for rounding.
TIES = 1e-3
CPU = torch.device("cpu")


def batches(bench: Bench) -> Iterator[Result]:
    """A batch of the card beside that of the CPU, and of one residency beside another."""
    expected, labels = first_batch(bench, CPU, "host")
    resident, own = first_batch(bench, bench.device, "gpu")
    difference = (expected - resident).abs().max().item()
    row = "equality: a batch, card and CPU"
    yield Result(row, difference, "largest difference", None, None, EQUAL)
    pinned, others = first_batch(bench, bench.device, "host")
    same = torch.equal(resident, pinned) and torch.equal(own, others) and torch.equal(own, labels)
    row = "equality: a batch, gpu and host, bit for bit"
    yield Result(row, float(same), "1: yes", None, None, 1.0, ">=")


def first_batch(bench: Bench, device: torch.device, residency: str) -> tuple[Tensor, Tensor]:
    """Expression and labels of the first batch of an epoch, on the CPU."""
    made = Bench(device, bench.store, bench.batch_size, bench.steps)
    source = made.batches(residency, "tf32", augmented=True)
    expression, labels = next(iter(source.shuffled(np.random.default_rng(0))))
    return expression.cpu().clone(), labels.cpu()


def steps(bench: Bench) -> Iterator[Result]:
    """Logits and gradients in fp32, and losses of replayed steps beside ordinary ones."""
    torch.set_float32_matmul_precision("highest")
    batch = first_batch(bench, CPU, "host")
    for name in MODELS:
        yield from attempted(f"equality: replayed steps of {name}", _replayed(bench, name))
        yield from attempted(f"equality: a step of {name}", _of_a_step(bench, name, batch))


def _of_a_step(bench: Bench, name: str, batch: tuple[Tensor, Tensor]) -> Iterator[Result]:
    made_by = [_step_numbers(bench, device, name, *batch) for device in (CPU, bench.device)]
    for what, expected, found in zip(("logits", "gradients"), *made_by, strict=True):
        share = ((found - expected).abs().max() / expected.abs().max()).item()
        row = f"equality: {what} of {name}, card and CPU, fp32"
        yield Result(row, share, "of the largest", None, None, EQUAL)


def _step_numbers(
    bench: Bench, device: torch.device, name: str, expression: Tensor, labels: Tensor
) -> list[Tensor]:
    """Logits and all gradients of one step without dropout, on the CPU."""
    model, loss = bench.trainer(name, "hce", device)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    logits = compute_logits(model, expression.to(device))
    loss(logits, labels.to(device)).backward()
    gradients = [value.grad.flatten() for value in model.parameters() if value.grad is not None]
    return [logits.detach().cpu(), torch.cat(gradients).cpu()]


def _replayed(bench: Bench, name: str) -> Iterator[Result]:
    """How far the losses of some steps are apart, replayed and as they are written."""
    source, losses = bench.batches("gpu", "tf32", augmented=True), []
    for ordinary in (False, True):
        _, use = bench.stepper(name, "hce", ordinary)
        epoch = source.shuffled(np.random.default_rng(0))
        losses.append(torch.stack([use(x, y) for x, y in islice(epoch, COMPARED)]))
    share = ((losses[0] - losses[1]).abs() / losses[1].abs()).max().item()
    row = f"equality: losses of {COMPARED} steps of {name}, replayed and one by one"
    yield Result(row, share, "of the loss", None, None, EQUAL)


def deterministic(bench: Bench) -> Iterator[Result]:
    """The same steps twice, as `training.deterministic` makes them."""
    source = bench.batches("gpu", "tf32", augmented=True)
    for name in MODELS:
        rows = _twice(bench, source, name)
        yield from attempted(f"equality: deterministic steps of {name}", rows)


def _twice(bench: Bench, source: BatchSource, name: str) -> Iterator[Result]:
    made = []
    for _ in range(2):
        model, use = bench.stepper(name, "hce_study")
        epoch = source.shuffled(np.random.default_rng(0))
        losses = [use(x, y) for x, y in islice(epoch, REPEATED)]
        weights = [value.detach().flatten().float() for value in model.parameters()]
        made.append(torch.cat([torch.stack(losses), *weights]))
    row = f"equality: {REPEATED} deterministic steps of {name}, twice, bit for bit"
    yield Result(row, float(torch.equal(*made)), "1: yes", None, None, 1.0, ">=")


def prediction(bench: Bench) -> Iterator[Result]:
    """Cells a second of the rule predict, in fp32, and what it says on the card and on the CPU."""
    torch.set_float32_matmul_precision("highest")
    with tempfile.TemporaryDirectory() as folder:
        size = 2 * bench.batch_size, bench.n_genes, int(bench.nonzeros)
        few = simulated_store(Path(folder), *size)
        for name in MODELS:
            yield from attempted(f"prediction: {name}", _prediction(bench, few, name))


def _prediction(bench: Bench, few: CellStore, name: str) -> Iterator[Result]:
    tables = [_predicted(bench, name, few, device) for device in (CPU, bench.device)]
    yield from _differences(name, *tables)
    seconds = bench.seconds(lambda: _predicted(bench, name, bench.store, bench.device))
    what = f"prediction, {len(DECODERS)} decoders, from disk: {name}"
    yield Result(what, len(bench.store) / seconds, "cells/s")


def _predicted(bench: Bench, name: str, store: CellStore, device: torch.device) -> pd.DataFrame:
    """What a model says of the cells of a store."""
    model, loss = bench.trainer(name, "hce", device)
    types = bench.types
    trained = TrainedModel(model.eval(), loss, store.genes, types.types, types.reachability, {})
    decoders = [Decoder.named(decoder) for decoder in DECODERS]
    return predict(trained, store, decoders, bench.batch_size, device)


def _differences(name: str, expected: pd.DataFrame, found: pd.DataFrame) -> Iterator[Result]:
    """How many answers differ, and how much the three probabilities of the others."""
    differing, largest = 0, 0.0
    for decoder in DECODERS:
        same = expected[f"prediction_{decoder}"] == found[f"prediction_{decoder}"]
        differing += int((~same).sum())
        for kind in ("probability", "s", "credited"):
            column = f"{kind}_{decoder}"
            apart = (expected.loc[same, column] - found.loc[same, column]).abs()
            largest = max(largest, float(apart.max()))
    share = differing / (len(expected) * len(DECODERS))
    row = f"equality: {{}} of {name}, card and CPU, fp32"
    yield Result(row.format("answers"), share, "share that differs", None, None, TIES)
    yield Result(row.format("probabilities"), largest, "largest difference", None, None, EQUAL)
