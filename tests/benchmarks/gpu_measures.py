"""How fast a card is, for `gpu_check`; each function gives rows of its table."""

import os
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from gpu_bench import MODELS, WARM_UP, Bench, attempted
from harness import Result

from hce.batches.in_memory import BatchSource
from hce.batches.placement import open_batches
from hce.ontology.targets import Targets
from hce.training.loop import ALONE
from hce.training.validation import Judge, validate

# Cells a second to reach: from GPU memory in TF32, from disk, in validation, and while loading.
RESIDENT = {"linear": 3e6, "mlp": 1.8e6, "tabnet": 0.5e6}
DISK = {"linear": 0.5e6, "mlp": 0.5e6, "tabnet": 0.3e6}
VALIDATION = {"linear": 4e6, "mlp": 3e6, "tabnet": 1e6}
LOADING = 1e6
CORES = 16  # with which loading and streaming are to reach that
# Share of the speed from GPU memory, or of what the link allows, to reach from host memory.
HOST_SHARE = 0.9
# Time of a step with a hierarchical loss, in times of that with cross-entropy.
LOSS_SHARE = 1.05


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


def loading(bench: Bench) -> Iterator[Result]:
    """Cells a second from shards in the page cache, to host memory and to the card."""
    cores = len(os.sched_getaffinity(0))
    target = LOADING if bench.device.type == "cuda" and cores >= CORES else None
    bench.store.load(np.arange(1))  # what is compiled or imported at the first time
    for place in ("host", "gpu"):

        def load(place: str = place) -> object:
            if place == "host":
                return bench.store.load()
            size = bench.batch_size, bench.device, torch.float32
            return open_batches(bench.store, "gpu", *size)

        speed = len(bench.store) / bench.seconds(load)
        what = f"loading to {place}, {cores} cores"
        yield Result(what, speed, "cells/s", None, None, target, ">=")


def batches_alone(bench: Bench, residency: str) -> Iterator[Result]:
    """Augmented batches, made and thrown away, and their share of what the card can do."""
    source = bench.batches(residency, "tf32", augmented=True)
    kernel = getattr(source, "_kernel", None) is not None
    target = 1.0 if bench.device.type == "cuda" else None
    yield Result(
        f"kernel makes batches, {residency}", float(kernel), "1: yes", None, None, target, ">="
    )
    speed = bench.cells_a_second(source, lambda expression, labels: None)
    yield Result(f"batches alone, {residency}", speed, "cells/s")
    # Bytes of a cell: its dense row and its counts, of which the latter come over the link.
    row = 4 * bench.n_genes + 4 * bench.nonzeros
    ceiling, size = ("copy", row) if residency == "gpu" else ("link", 4 * bench.nonzeros)
    if ceiling in bench.speed:
        share = speed * size / bench.speed[ceiling] / 1e9
        yield Result(f"batches alone, {residency}: share of {ceiling}", share, "1")


def training(
    bench: Bench, residency: str, precision: str, losses: tuple[str, ...]
) -> Iterator[Result]:
    """Cells a second of whole steps of each model; the linear one on cells that are not shifted."""
    for augmented, names in ((False, MODELS[:1]), (True, MODELS[1:])):
        source = bench.batches(residency, precision, augmented)
        for name in names:
            for loss in losses:
                what = f"{name}, {loss}, {precision}, {residency}"
                rows = _trained(bench, source, name, loss, what)
                yield from attempted(f"training: {what}", rows)
            if bench.device.type == "cuda" and residency == "gpu":
                what = f"{name}, {precision}"
                yield from attempted(f"kernels: {what}", _kernels(bench, source, name, what))
        del source


def _trained(
    bench: Bench, source: BatchSource, name: str, loss: str, what: str
) -> Iterator[Result]:
    _, use = bench.stepper(name, loss)
    speed = bench.speed[what] = bench.cells_a_second(source, use)
    target, resident = None, bench.speed.get(f"{name}, hce, tf32, gpu")
    if what.endswith("hce, tf32, gpu"):
        target = RESIDENT[name]
    if what.endswith("hce, tf32, disk"):
        target = DISK[name]
    if what.endswith("hce, tf32, host") and resident and "link" in bench.speed:
        target = HOST_SHARE * min(resident, bench.speed["link"] * 1e9 / 4 / bench.nonzeros)
    yield Result(f"training: {what}", speed, "cells/s", None, None, target, ">=")
    if loss != "ce" and what.endswith("tf32, gpu"):
        times = bench.speed[f"{name}, ce, tf32, gpu"] / speed
        yield Result(f"step: {name}, {loss} / ce", times, "1", None, None, LOSS_SHARE)


def _kernels(bench: Bench, source: BatchSource, name: str, what: str) -> Iterator[Result]:
    """Kernels, copies and fills of a step, how it is launched, and its speed one by one."""
    (_, use), number = bench.stepper(name, "hce"), 4
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
    on_card = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
    graphs = sum("GraphLaunch" in event.name for event in events)
    yield Result(f"kernels a step: {what}", len(on_card) / number, "1")
    busy = sum(event.time_range.elapsed_us() for event in on_card) / number / 1e3
    yield Result(f"card busy in a step: {what}", busy, "ms")
    yield Result(f"graphs a step: {what}", graphs / number, "1", None, None, 1.0, ">=")
    _, ordinary = bench.stepper(name, "hce", ordinary=True)
    speed = bench.cells_a_second(source, ordinary)
    yield Result(f"training, kernels launched one by one: {what}", speed, "cells/s")
    longest: dict[str, float] = {}
    for event in on_card:
        longest[event.name] = longest.get(event.name, 0.0) + event.time_range.elapsed_us()
    for kernel, us in sorted(longest.items(), key=lambda item: -item[1])[:12]:
        print(f"    {us / number:8.1f} us a step  {kernel[:120]}")


def validation(bench: Bench) -> Iterator[Result]:
    """Cells a second of a pass over a set after an epoch, scores included."""
    source = bench.batches("gpu", "tf32", augmented=False)
    for name in MODELS:
        yield from attempted(f"validation: {name}", _validated(bench, source, name))


def _validated(bench: Bench, source: BatchSource, name: str) -> Iterator[Result]:
    model, loss = bench.trainer(name, "hce")
    judge = Judge.of(Targets.unrestricted(bench.types.reachability), loss)

    def score() -> object:
        return validate(model, loss, source, judge, ALONE)

    score()
    speed = len(source) / bench.seconds(score)
    yield Result(f"validation: {name}", speed, "cells/s", None, None, VALIDATION[name], ">=")
