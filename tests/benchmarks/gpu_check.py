"""Tests and times a machine's card, and writes tests/benchmarks/gpu.tsv (`make gpu-check`).

It should take less than eight minutes. The tests marked `gpu` run first. Then the most that the
card can do is measured, and how much of it training and validation reach. On a machine without a
card the script can be tried as below; it then writes nothing unless `--output` says where:

    python tests/benchmarks/gpu_check.py --device cpu --cells 300 --genes 100 --batch-size 32
"""

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import gpu_measures
import pandas as pd
import torch
from bench_loss_step import BATCH, GENES
from harness import Result

from hce.errors import UserError
from hce.files import write_tsv
from hce.training.device import prepare_device

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
TABLE = FOLDER / "gpu.tsv"
TESTS = [f"tests/unit/{room}" for room in ("batches", "models", "training")]
COLUMNS = ["card", "date", "commit", "what", "value", "unit", "target", "met"]
CELLS, NON_ZEROS, STEPS = 131_072, 1_500, 50


def tests(paths: list[str]) -> Iterator[Result]:
    """How many tests marked `gpu` pass, fail and are skipped."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = ["-m", "pytest", "-q", "-m", "gpu", f"--junitxml={report}", *paths]
        done = subprocess.run([sys.executable, *command], cwd=ROOT, check=False)
        if not report.exists():
            raise UserError(f"pytest ended with {done.returncode} before it ran a test: see above.")
        suite = ET.parse(report).getroot()[0].attrib
    found = {name: int(suite[name]) for name in ("tests", "failures", "errors", "skipped")}
    failed = found["failures"] + found["errors"]
    passed = found["tests"] - failed - found["skipped"]
    yield Result("tests marked gpu: failed", failed, "tests", None, None, 0.0)
    yield Result("tests marked gpu: passed", passed, "tests", None, None, 1.0, ">=")
    yield Result("tests marked gpu: skipped", found["skipped"], "tests")


def commit() -> str:
    """The commit, with a plus sign where files differ from it; "unknown" outside a clone."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def table(results: list[Result], card: str) -> pd.DataFrame:
    """The rows that are printed and written."""
    words = {True: "yes", False: "no", None: None}
    same = card, datetime.datetime.now(tz=datetime.UTC).date().isoformat(), commit()
    rows = [
        [*same, r.benchmark, f"{r.value:.4g}", r.unit, _target(r), words[r.met]] for r in results
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _target(result: Result) -> str | None:
    return None if result.target is None else f"{result.direction} {result.target:.4g}"


def write(rows: pd.DataFrame, path: Path) -> None:
    """Writes the rows in place of those of the same card; those of other cards are kept."""
    if path.exists():
        before = pd.read_csv(path, sep="\t", dtype=str)
        rows = pd.concat([before[~before["card"].isin(rows["card"])], rows])
    write_tsv(rows, path)


def measure(bench: gpu_measures.Bench) -> Iterator[Result]:
    """All that is measured, in the order of the table."""
    for part in ("ceilings", "batches_alone", "training", "validation", "prediction", "equality"):
        start = time.perf_counter()
        for result in getattr(gpu_measures, part)(bench):
            print(f"{result.benchmark}: {result.value:.4g} {result.unit}", flush=True)
            yield result
        print(f"({part}: {time.perf_counter() - start:.0f} s)", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """The command; 1 where a test failed or the card gives other numbers than the CPU."""
    parser = argparse.ArgumentParser(prog="make gpu-check", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--cells", type=int, default=CELLS)
    parser.add_argument("--genes", type=int, default=GENES)
    parser.add_argument("--batch-size", type=int, default=BATCH)
    parser.add_argument("--output", type=Path, help="default: gpu.tsv beside this file")
    parser.add_argument("--tests", nargs="*", default=TESTS)
    options = parser.parse_args(arguments)
    try:
        device = prepare_device(options.device, len(os.sched_getaffinity(0)))
        results = list(tests(options.tests)) if options.tests else []
    except UserError as error:
        parser.exit(1, f"Error: {error}\n")
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "none (CPU)"
    with tempfile.TemporaryDirectory() as folder:
        nonzeros = min(NON_ZEROS, options.genes // 4)
        store = gpu_measures.simulated_store(Path(folder), options.cells, options.genes, nonzeros)
        results += measure(gpu_measures.Bench(device, store, options.batch_size, STEPS))
    rows = table(results, card)
    print(rows[COLUMNS[3:]].to_string(index=False, na_rep="-"))
    output = options.output or (TABLE if device.type == "cuda" else None)
    if output is not None:
        write(rows, output)
        print(f"Written to {output}.")
    must = rows["what"].str.startswith(("equality", "tests"))
    return int((rows.loc[must, "met"] == "no").any())


if __name__ == "__main__":
    sys.exit(main())
