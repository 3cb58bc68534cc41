"""Tests and times a machine's card, and writes tests/benchmarks/gpu.tsv (`make gpu-check`).

It should take less than eight minutes. The tests marked `gpu` run first. Then the most that the
card can do is measured, and how much of it training and validation reach. Each part runs in a
process of its own and may take so long at most; where it fails, a row says why, and the others go
on. On a machine without a card the script can be tried as below; it then writes nothing unless
`--output` says where:

    python tests/benchmarks/gpu_check.py --device cpu --cells 300 --genes 100 --batch-size 32
"""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from bench_loss_step import BATCH, GENES
from gpu_bench import failed, simulated_store
from gpu_part import PARTS
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
# Seconds: of everything, of the tests and of one part at most.
ALL, OF_TESTS, OF_A_PART = 480, 180, 120


class Clock:
    """What is left of the time that everything may take."""

    def __init__(self) -> None:
        self._end = time.monotonic() + ALL

    def run(self, command: list[str], most: float) -> str:
        """Runs a command; why it failed, or nothing."""
        seconds = min(most, self._end - time.monotonic())
        if seconds <= 0:
            return f"no time was left of {ALL} s"
        try:
            done = subprocess.run(command, cwd=ROOT, check=False, timeout=seconds)
        except subprocess.TimeoutExpired:
            return f"it did not end within {seconds:.0f} s"
        return "" if done.returncode == 0 else f"its process ended with {done.returncode}"


def tests(paths: list[str], clock: Clock) -> Iterator[Result]:
    """How many tests marked `gpu` pass, fail and are skipped."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", f"--junitxml={report}"]
        reason = clock.run([*command, *paths], OF_TESTS)
        if not report.exists():
            yield failed("tests marked gpu", reason)
            return
        suite = ET.parse(report).getroot()[0].attrib
    found = {name: int(suite[name]) for name in ("tests", "failures", "errors", "skipped")}
    wrong = found["failures"] + found["errors"]
    passed = found["tests"] - wrong - found["skipped"]
    yield Result("tests marked gpu: failed", wrong, "tests", None, None, 0.0)
    yield Result("tests marked gpu: passed", passed, "tests", None, None, 1.0, ">=")
    yield Result("tests marked gpu: skipped", found["skipped"], "tests")


def measure(options: argparse.Namespace, folder: Path, clock: Clock) -> Iterator[Result]:
    """All that is measured, in the order of `PARTS`."""
    nonzeros = min(NON_ZEROS, options.genes // 4)
    simulated_store(folder, options.cells, options.genes, nonzeros)
    given = [options.device, str(options.batch_size), str(STEPS)]
    for part in PARTS:
        rows = folder / "rows.jsonl"
        rows.write_text("")
        files = [str(folder), str(rows), str(folder / "speed.json")]
        command = [sys.executable, str(FOLDER / "gpu_part.py"), part, *files, *given]
        reason = clock.run(command, OF_A_PART)
        yield from (Result(**json.loads(line)) for line in rows.read_text().splitlines())
        if reason:
            yield failed(part, reason)


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


def main(arguments: list[str] | None = None) -> int:
    """The command; 1 where something failed or the card gives other numbers than the CPU."""
    parser = argparse.ArgumentParser(prog="make gpu-check", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--cells", type=int, default=CELLS)
    parser.add_argument("--genes", type=int, default=GENES)
    parser.add_argument("--batch-size", type=int, default=BATCH)
    parser.add_argument("--output", type=Path, help="default: gpu.tsv beside this file")
    parser.add_argument("--tests", nargs="*", default=TESTS)
    options = parser.parse_args(arguments)
    try:
        device = prepare_device(options.device, 1, take=False)
    except UserError as error:
        parser.exit(1, f"Error: {error}\n")
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "none (CPU)"
    output = options.output or (TABLE if device.type == "cuda" else None)
    clock, results = Clock(), []
    with tempfile.TemporaryDirectory() as folder:
        made = tests(options.tests, clock) if options.tests else iter(())
        for source in (made, measure(options, Path(folder), clock)):
            for result in source:
                results.append(result)
                if output is not None:  # at once: what follows may be cut off
                    write(table(results, card), output)
    rows = table(results, card)
    print(rows[COLUMNS[3:]].to_string(index=False, na_rep="-"))
    if output is not None:
        print(f"Written to {output}.")
    must = rows["what"].str.startswith(("equality", "tests", "failed"))
    return int((rows.loc[must, "met"] == "no").any())


if __name__ == "__main__":
    sys.exit(main())
