"""What `gpu_check` measures on a card; each function gives rows of its table."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from bench_loss_step import hierarchy
from harness import Result
from torch import Tensor, nn

from hce.batches.densify import Augmentation
from hce.batches.in_memory import BatchSource
from hce.batches.placement import open_batches
from hce.decoding import Decoder
from hce.evaluation.predict import predict
from hce.losses import HierarchicalLoss, build_loss
from hce.models import build_model
from hce.models.trained_model import TrainedModel
from hce.ontology.targets import Targets
from hce.store.cell_store import CellStore, write_store
from hce.store.counts import Counts
from hce.store.shards import write_shard
from hce.training.captured import TRIALS, recorded_where_possible
from hce.training.device import BATCH_DTYPES, compute_logits
from hce.training.loop import ALONE, training_step
from hce.training.optimizer import build_optimizer
from hce.training.validation import Judge, validate

VECTORS = 200
WARM_UP = TRIALS + 3  # a step is recorded meanwhile
COMPARED = 20  # steps of which replayed and ordinary ones are compared
MODELS = ("linear", "mlp", "tabnet")
# Cells a second to reach: from GPU memory in TF32, from disk, and in validation.
RESIDENT = {"linear": 3e6, "mlp": 1.8e6, "tabnet": 0.5e6}
DISK = {"linear": 0.5e6, "mlp": 0.5e6, "tabnet": 0.3e6}
VALIDATION = {"linear": 4e6, "mlp": 3e6, "tabnet": 1e6}
# Share of the speed from GPU memory, or of what the link allows, to reach from host memory.
HOST_SHARE = 0.9
# Time of a step with a hierarchical loss, in times of that with cross-entropy.
LOSS_SHARE = 1.05
LR = 2.0**-11  # about that of the linear model, and the same in float32
# Largest difference from the CPU, in times of the largest number.
EQUAL = 1e-5
DECODERS = ("argmax", "ancestor_sum", "hierarchical_f1", "back_off_0.9")
# Share of answers that may differ: of two that are equally good but for rounding.
TIES = 1e-3


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
        self.nonzeros = int(self.store.starts()[-1]) / len(self.store)
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


def simulated_store(folder: Path, n_cells: int, n_genes: int, nonzeros: int) -> CellStore:
    """Made-up cells with about so many genes each; every 8,192 of them are alike."""
    rng = np.random.default_rng(0)
    common = rng.beta(0.3, 2.1, n_genes).astype(np.float32)
    seen = (common * nonzeros / common.sum()).clip(max=0.95)
    distinct = min(n_cells, 8192)
    cells = [np.flatnonzero(rng.random(n_genes, dtype=np.float32) < seen) for _ in range(distinct)]
    indptr = np.concatenate([[0], np.cumsum([len(cell) for cell in cells])])
    values = rng.geometric(0.5, indptr[-1]).astype(np.uint16)
    counts = Counts(indptr, np.concatenate(cells).astype(np.uint16), values)
    ids = np.arange(n_cells, dtype=np.int64)
    write_shard(folder / "cells.arrow", [(ids, counts.take(ids % distinct))])
    labels = rng.integers(0, len(hierarchy()), n_cells).astype(np.int16)
    table = pd.DataFrame({"soma_joinid": ids, "label": labels})
    names = [f"g{gene}" for gene in range(n_genes)]
    genes = pd.DataFrame({"feature_id": names, "feature_name": names})
    return write_store(folder / "store", [folder / "cells.arrow"], table, genes, {})


def ceilings(bench: Bench) -> Iterator[Result]:
    """What the card can do at most: copies, the link to the host, products."""
    on_card = bench.device.type == "cuda"
    size = 2**30 if on_card else 2**22
    one, other = (torch.empty(size, dtype=torch.uint8, device=bench.device) for _ in range(2))
    other.copy_(one)
    seconds = min(bench.seconds(lambda: other.copy_(one)) for _ in range(5))
    bench.speed["copy"] = 2 * size / seconds / 1e9
    yield Result("ceiling: copy within the card", bench.speed["copy"], "GB/s, read and written")
    if on_card:
        host = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        seconds = min(bench.seconds(lambda: one.copy_(host, non_blocking=True)) for _ in range(5))
        bench.speed["link"] = size / seconds / 1e9
        yield Result("ceiling: link from pinned host memory", bench.speed["link"], "GB/s")
    width = 8192 if on_card else 256
    for precision, dtype in (("tf32", torch.float32), ("bf16", torch.bfloat16)):
        matrix = torch.randn(width, width, device=bench.device, dtype=dtype)
        matrix @ matrix
        seconds = min(bench.seconds(lambda: [matrix @ matrix for _ in range(10)]) for _ in range(3))  # noqa: B023
        yield Result(f"ceiling: product, {precision}", 20 * width**3 / seconds / 1e12, "TFLOP/s")


def batches_alone(bench: Bench) -> Iterator[Result]:
    """Augmented batches, made and thrown away, and their share of what the card can do."""
    row = 4 * bench.n_genes + 4 * bench.nonzeros  # bytes written and read a cell
    for residency in ("gpu", "host"):
        source = bench.batches(residency, "tf32", augmented=True)
        kernel = getattr(source, "_kernel", None) is not None
        target = 1.0 if bench.device.type == "cuda" else None
        yield Result(
            f"kernel makes batches, {residency}", float(kernel), "1: yes", None, None, target, ">="
        )
        speed = _speed(bench, source, lambda expression, labels: None)
        bench.speed[f"batches {residency}"] = speed
        yield Result(f"batches alone, {residency}", speed, "cells/s")
        ceiling, size = ("copy", row) if residency == "gpu" else ("link", 4 * bench.nonzeros)
        if ceiling in bench.speed:
            share = speed * size / bench.speed[ceiling] / 1e9
            yield Result(f"batches alone, {residency}: share of {ceiling}", share, "1")


def training(bench: Bench) -> Iterator[Result]:
    """Cells a second of whole steps, by model, precision, residency and loss."""
    plan = [("gpu", "tf32", ("ce", "hce", "hce_study")), ("gpu", "bf16", ("hce",))]
    plan += [("host", "tf32", ("hce",)), ("disk", "tf32", ("hce",))]
    for residency, precision, losses in plan:
        for augmented, names in ((False, MODELS[:1]), (True, MODELS[1:])):
            source = bench.batches(residency, precision, augmented)
            for name in names:
                for loss in losses:
                    yield from _trained(bench, source, name, loss, precision, residency)
                    if bench.device.type == "cuda" and (residency, loss) == ("gpu", "hce"):
                        yield from _steps(bench, source, name, precision)
            del source


def _trained(
    bench: Bench, source: BatchSource, name: str, loss: str, precision: str, residency: str
) -> Iterator[Result]:
    speed = _speed(bench, source, _stepper(bench, name, loss))
    what = f"{name}, {loss}, {precision}, {residency}"
    bench.speed[what] = speed
    target = None
    if (loss, precision) == ("hce", "tf32"):
        target = {"gpu": RESIDENT, "disk": DISK}.get(residency, {}).get(name)
        if residency == "host" and "link" in bench.speed:
            link = bench.speed["link"] * 1e9 / 4 / bench.nonzeros
            target = HOST_SHARE * min(bench.speed[f"{name}, hce, tf32, gpu"], link)
    yield Result(f"training: {what}", speed, "cells/s", None, None, target, ">=")
    if loss != "ce" and (precision, residency) == ("tf32", "gpu"):
        times = bench.speed[f"{name}, ce, tf32, gpu"] / speed
        yield Result(f"step: {name}, {loss} / ce", times, "1", None, None, LOSS_SHARE)


def _stepper(
    bench: Bench, name: str, loss: str, ordinary: bool = False
) -> Callable[[Tensor, Tensor], Tensor]:
    """Steps as a fit takes them, or as they are written."""
    model, made = bench.trainer(name, loss)
    optimizer = build_optimizer(model, lr=LR, weight_decay=0.01)
    step = recorded_where_possible(training_step, bench.device, ALONE)
    if ordinary:
        step = training_step
    return lambda x, y: step(model, made, optimizer, 1.0, x, y)


def _speed(bench: Bench, source: BatchSource, use: Callable[[Tensor, Tensor], object]) -> float:
    """Cells a second of batches that are made and used, after some that are not timed."""
    epoch = source.shuffled(np.random.default_rng(0))
    for expression, labels in islice(epoch, WARM_UP):
        use(expression, labels)
    cells = 0

    def rest() -> None:
        nonlocal cells
        for expression, labels in islice(epoch, bench.steps):
            use(expression, labels)
            cells += len(labels)

    seconds = bench.seconds(rest)
    return cells / seconds


def _steps(bench: Bench, source: BatchSource, name: str, precision: str) -> Iterator[Result]:
    """Kernels, copies and fills of a step, how it is launched, and its speed one by one."""
    use, number = _stepper(bench, name, "hce"), 4
    epoch = source.shuffled(np.random.default_rng(0))
    for expression, labels in islice(epoch, WARM_UP):
        use(expression, labels)
    bench.wait()
    kinds = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[kinds.CPU, kinds.CUDA]) as profile:
        for expression, labels in islice(epoch, number):
            use(expression, labels)
        bench.wait()
    events = profile.events()
    on_card = sum(event.device_type == torch.autograd.DeviceType.CUDA for event in events)
    graphs = sum("GraphLaunch" in event.name for event in events)
    what = f"{name}, {precision}"
    yield Result(f"kernels a step: {what}", on_card / number, "1")
    yield Result(f"graphs a step: {what}", graphs / number, "1", None, None, 1.0, ">=")
    ordinary = _speed(bench, source, _stepper(bench, name, "hce", ordinary=True))
    yield Result(f"training, kernels launched one by one: {what}", ordinary, "cells/s")


def validation(bench: Bench) -> Iterator[Result]:
    """Cells a second of a pass over a set after an epoch, scores included."""
    source = bench.batches("gpu", "tf32", augmented=False)
    for name in MODELS:
        model, loss = bench.trainer(name, "hce")
        judge = Judge.of(Targets.unrestricted(self_reaching(bench)), loss)
        validate(model, loss, source, judge, ALONE)
        seconds = bench.seconds(lambda: validate(model, loss, source, judge, ALONE))  # noqa: B023
        speed = len(source) / seconds
        yield Result(f"validation: {name}", speed, "cells/s", None, None, VALIDATION[name], ">=")


def prediction(bench: Bench) -> Iterator[Result]:
    """Cells a second of the rule predict, in fp32, and what it says on the card and on the CPU."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    with tempfile.TemporaryDirectory() as folder:
        size = 2 * bench.batch_size, bench.n_genes, int(bench.nonzeros)
        few = simulated_store(Path(folder), *size)
        for name in MODELS:
            tables = [
                _predicted(bench, name, few, device)
                for device in (torch.device("cpu"), bench.device)
            ]
            yield from _differences(name, *tables)
            seconds = bench.seconds(lambda: _predicted(bench, name, bench.store, bench.device))  # noqa: B023
            what = f"prediction, {len(DECODERS)} decoders, from disk: {name}"
            yield Result(what, len(bench.store) / seconds, "cells/s")
    torch.set_float32_matmul_precision(precision)


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


def self_reaching(bench: Bench) -> np.ndarray:
    """The reachability of the types, bool (C, C)."""
    matrix: np.ndarray = bench.types.reachability
    return matrix


def equality(bench: Bench) -> Iterator[Result]:
    """Numbers of the card beside those of the CPU, in fp32, and of one residency beside another."""
    cpu = Bench(torch.device("cpu"), bench.store, bench.batch_size, bench.steps)
    first: dict[str, Any] = {}
    for place, made in (("cpu", cpu), ("gpu", bench), ("host", bench)):
        residency = "host" if place == "cpu" else place
        source = made.batches(residency, "tf32", augmented=True)
        expression, labels = next(iter(source.shuffled(np.random.default_rng(0))))
        first[place] = expression.cpu().clone(), labels.cpu()
    difference = (first["cpu"][0] - first["gpu"][0]).abs().max().item()
    yield Result(
        "equality: a batch, card and CPU", difference, "largest difference", None, None, EQUAL
    )
    same = all(torch.equal(a, b) for a, b in zip(first["gpu"], first["host"], strict=True))
    yield Result(
        "equality: a batch, gpu and host, bit for bit", float(same), "1: yes", None, None, 1.0, ">="
    )
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    for name in MODELS:
        yield _replayed(bench, name)
        made_by = [_step_numbers(b, name, *first["cpu"]) for b in (cpu, bench)]
        for what, expected, found in zip(("logits", "gradients"), *made_by, strict=True):
            share = ((found - expected).abs().max() / expected.abs().max()).item()
            row = f"equality: {what} of {name}, card and CPU, fp32"
            yield Result(row, share, "of the largest", None, None, EQUAL)
    torch.set_float32_matmul_precision(precision)


def _replayed(bench: Bench, name: str) -> Result:
    """How far the losses of some steps are apart, replayed and as they are written."""
    source, losses = bench.batches("gpu", "tf32", augmented=True), []
    for ordinary in (False, True):
        use = _stepper(bench, name, "hce", ordinary)
        epoch = source.shuffled(np.random.default_rng(0))
        losses.append(torch.stack([use(x, y) for x, y in islice(epoch, COMPARED)]))
    share = ((losses[0] - losses[1]).abs() / losses[1].abs()).max().item()
    row = f"equality: losses of {COMPARED} steps of {name}, replayed and one by one"
    return Result(row, share, "of the loss", None, None, EQUAL)


def _step_numbers(bench: Bench, name: str, expression: Tensor, labels: Tensor) -> list[Tensor]:
    """Logits and all gradients of one step without dropout, on the CPU."""
    model, loss = bench.trainer(name, "hce")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    logits = compute_logits(model, expression.to(bench.device))
    loss(logits, labels.to(bench.device)).backward()
    gradients = [value.grad.flatten() for value in model.parameters() if value.grad is not None]
    return [logits.detach().cpu(), torch.cat(gradients).cpu()]
