"""One part of `gpu_check`, in a process of its own: what it does to the card ends with it.

    python tests/benchmarks/gpu_part.py PART STORE ROWS SPEED DEVICE BATCH_SIZE STEPS

Adds a line of JSON to ROWS for every row as soon as it is known; SPEED holds what parts before
have measured, by name, and gets what this one does.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import gpu_equality
import gpu_measures
from gpu_bench import Bench, attempted
from gpu_measures import training
from harness import Result

from hce.store.cell_store import CellStore
from hce.training.device import prepare_device

DETERMINISTIC = "deterministic"
Measure = Callable[[Bench], Iterator[Result]]
# Those that others are compared with, and those that matter most, come first.
PARTS: dict[str, dict[str, Measure]] = {
    "from GPU memory": {
        "ceilings": gpu_measures.ceilings,
        "training": partial(
            training, residency="gpu", precision="tf32", losses=("ce", "hce", "hce_study")
        ),
        "validation": gpu_measures.validation,
        "batches alone": partial(gpu_measures.batches_alone, residency="gpu"),
    },
    "equality": {"steps": gpu_equality.steps},
    "from host memory": {
        "batches alone": partial(gpu_measures.batches_alone, residency="host"),
        "training": partial(training, residency="host", precision="tf32", losses=("hce",)),
        "equality of batches": gpu_equality.batches,
    },
    "from disk": {
        "training": partial(training, residency="disk", precision="tf32", losses=("hce",)),
        "loading": gpu_measures.loading,
    },
    "in bf16": {"training": partial(training, residency="gpu", precision="bf16", losses=("hce",))},
    "prediction": {"prediction": gpu_equality.prediction},
    DETERMINISTIC: {"steps": gpu_equality.deterministic},
}


def main(
    part: str, store: str, rows: str, speed: str, device: str, batch_size: str, steps: str
) -> None:
    """The command."""
    cores = len(os.sched_getaffinity(0))
    on = prepare_device(device, cores, deterministic=part == DETERMINISTIC)
    bench = Bench(on, CellStore.open(store), int(batch_size), int(steps))
    if Path(speed).exists():
        bench.speed = json.loads(Path(speed).read_text())
    for name, measure in PARTS[part].items():
        start = time.perf_counter()
        for result in attempted(f"{part}: {name}", measure(bench)):
            print(f"{result.benchmark}: {result.value:.4g} {result.unit}", flush=True)
            with open(rows, "a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(result)) + "\n")
            Path(speed).write_text(json.dumps(bench.speed))
        print(f"({part}, {name}: {time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
