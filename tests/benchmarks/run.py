"""Runs the benchmarks of this folder and writes results/benchmarks.tsv (`make bench`).

    python tests/benchmarks/run.py [NAME ...]

without names: all. A NAME is a file's name without `bench_` and `.py`. Exits with 1 where a
benchmark failed to run; a missed target is reported and is not a failure.
"""

import importlib
import multiprocessing
import os
import platform
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from harness import Result, SkippedError

from hce.files import write_tsv

FOLDER = Path(__file__).resolve().parent
TABLE = FOLDER.parents[1] / "results" / "benchmarks.tsv"
COLUMNS = ["benchmark", "value", "unit", "peer", "peer_value", "ratio", "target", "met"]
VERSIONS = ["torch", "numpy", "numba", "pyarrow", "tiledbsoma", "snakemake"]


def names(folder: Path = FOLDER) -> list[str]:
    """Names of the benchmarks in a folder, in order."""
    return sorted(path.stem.removeprefix("bench_") for path in folder.glob("bench_*.py"))


def machine() -> str:
    """Processor, cores, memory and versions, on two lines."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = lines[0].partition(":")[2].strip() if lines else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    hardware = f"{cpu}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB"
    return f"{hardware}\nPython {platform.python_version()}, {packages}"


def execute(name: str) -> list[Result] | str:
    """Runs one benchmark: its results, or why it was skipped."""
    try:
        results: list[Result] = importlib.import_module(f"bench_{name}").run()
    except SkippedError as reason:
        return str(reason)
    return results


def rows(name: str, outcome: list[Result] | str) -> list[dict[str, object]]:
    """Table rows of what `execute` returned; a skipped benchmark has one without numbers."""
    if isinstance(outcome, str):
        return [{"benchmark": name, "met": f"skipped: {outcome}"}]
    words = {True: "yes", False: "no", None: None}
    return [
        {
            **{column: getattr(result, column) for column in COLUMNS[:-2]},
            "target": result.target and f"{result.direction} {result.target:g}",
            "met": words[result.met],
        }
        for result in outcome
    ]


def main(chosen: list[str]) -> int:
    """Runs the chosen benchmarks, or all; returns the exit status."""
    if unknown := sorted(set(chosen) - set(names())):
        print(f"There is no benchmark {unknown[0]!r}; there are: {', '.join(names())}.")
        return 2
    print(machine(), flush=True)
    print(f"Load before the start: {os.getloadavg()[0]:.1f}", flush=True)
    table: list[dict[str, object]] = []
    failed = []
    for name in chosen or names():
        start = time.perf_counter()
        print(f"{name} ...", end=" ", flush=True)
        # A fresh process each: threads, memory and processor settings do not carry over.
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
            try:
                table += rows(name, pool.submit(execute, name).result())
                print(f"{time.perf_counter() - start:.0f} s", flush=True)
            except (Exception, BrokenProcessPool):
                print("failed", flush=True)
                traceback.print_exc()
                failed.append(name)
    results = pd.DataFrame(table, columns=COLUMNS)
    print(results.to_string(index=False, na_rep="-", float_format="{:.4g}".format))
    if not chosen:
        write_tsv(results, TABLE)
        print(f"Written to {TABLE.relative_to(FOLDER.parents[1])}.")
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
