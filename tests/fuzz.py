"""Damages files of a small finished run and looks whether it is noticed (`make fuzz`).

Each trial damages one file, runs one job that reads it, as Snakemake ran it, and compares what the
job writes with what it wrote before. A fault is refused in one sentence, or changes nothing; all
else (another number, a traceback, a crash) is reported and ends the script with status 1.
"""

import argparse
import ast
import importlib
import os
import runpy
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "scripts"), str(REPOSITORY / "tests")]

from faults import FAULTS  # noqa: E402  (found by the path above)
from hce.jobs.job import UNEXPECTED  # noqa: E402
from hce.ontology.hierarchy import HIERARCHY_TABLE, REACHABILITY  # noqa: E402
from workplace import lay_out  # noqa: E402

# Kind of file → where such files lie. A trial begins with a kind, so each is as often damaged.
DATA, RUN = "resources/atlas/*", "results/*"
KINDS = {
    "tables of a release": f"{DATA}/census/*/*.parquet",
    "hierarchy": f"{DATA}/ontology/hierarchy.parquet",
    "reachability": f"{DATA}/ontology/reachability.npz",
    "genes": f"{DATA}/genes.parquet",
    "cells": f"{DATA}/cells/*.parquet",
    "vocabularies": f"{DATA}/cells/vocabularies/*.tsv",
    "targets": f"{DATA}/cells/targets/*.npz",
    "exported counts": f"{DATA}/export/*/*.arrow",
    "shards of a store": f"{DATA}/store/*/shard-*.arrow",
    "cells of a store": f"{DATA}/store/*/cells.parquet",
    "manifest of a store": f"{DATA}/store/*/manifest.json",
    "augmentation vectors": f"{DATA}/augmentation/vectors.npy",
    "audit": f"{DATA}/audit/*.parquet",
    "trained models": f"{RUN}/fits/*/*/*/model.pt",
    "checkpoints": f"{RUN}/fits/*/*/*/resume.pt",
    "predictions": f"{RUN}/predictions/*/*/*/*.parquet",
    "counts by study": f"{RUN}/scores/*/*/*/*.parquet",
    "scores of a fit": f"{RUN}/scores/*/*/*/*.tsv",
    "tables of a run": f"{RUN}/tables/*.tsv",
    "model files": f"{RUN}/models/*.hce",
    "records of checksums": "r*/**/.*.crc32c",
}
# Jobs that take minutes, or whose work other jobs' repeats.
LEFT_OUT = {"simulate_census", "write_provenance", "make_explorer"}
# What the jobs import is imported once, before they are forked.
IMPORTED = ("torch", "anndata", "sklearn.cluster", "statsmodels.api", "matplotlib.pyplot")
IMPORTED += ("hce.training.fit", "hce.annotate.run", "hce.evaluation.scoring", "hce.report.summary")
SECONDS = 300  # that a job may take
# Outcomes that a trial may have.
REFUSED, HARMLESS = "refused", "harmless"


@dataclass(frozen=True)
class Reader:
    """What reads files: a job of the run, or a command.

    Attributes:
        name: its rule.
        inputs: files and folders that it reads.
        outputs: files and folders that it writes.
        run: does its work in the folder of the run.
        log: its log file; None for commands.
    """

    name: str
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]
    run: Callable[[], Any]
    log: Path | None = None

    def reads(self, path: Path) -> bool:
        return any(path == given or given in path.parents for given in self.inputs)


def make_run(folder: Path) -> None:
    """Runs the small demo; Snakemake's scripts and the exported counts are kept."""
    config = {"fits": {"models": ["linear", "mlp"], "losses": ["ce", "hce"], "seeds": [0]}}
    options = ("--skip-script-cleanup", "--notemp")
    done = lay_out(folder, REPOSITORY).snakemake(*options, config=config)
    if done.returncode:
        sys.exit(done.stderr[-5000:])


def jobs_of(folder: Path) -> Iterator[Reader]:
    """The jobs that have run in a folder, by the scripts that Snakemake has made of them."""
    for script in sorted((folder / ".snakemake/scripts").glob("*.py")):
        job = _snakemake_of(script)
        if job.rule in LEFT_OUT:
            continue
        inputs = {Path(path) for path in job.input}
        # Read without being named: what lies beside a hierarchy and beside a model.
        inputs |= {path.with_name(REACHABILITY) for path in inputs if path.name == HIERARCHY_TABLE}
        outputs = [Path(path) for path in job.output]
        inputs |= {path.with_name("resume.pt") for path in outputs if path.name == "model.pt"}
        yield Reader(
            job.rule,
            tuple(inputs),
            tuple(outputs),
            lambda script=script: runpy.run_path(str(script), run_name="__main__"),
            Path(job.log[0]),
        )


def _snakemake_of(script: Path) -> Any:
    """The `snakemake` of a script, which its second line unpickles."""
    line = next(text for text in script.read_text().splitlines() if "pickle.loads(" in text)
    scope: dict[str, Any] = {}
    statements = ast.parse(line).body
    wanted = [
        s for s in statements if isinstance(s, ast.Import) or "pickle.loads" in ast.unparse(s)
    ]
    exec(compile(ast.Module(wanted, []), str(script), "exec"), scope)
    return scope["snakemake"]


def annotate(model: Path, cells: Path) -> Reader:
    """`hce annotate` with a model file of the run."""
    from hce.cli import main

    out = Path("annotated.tsv")
    command = ["annotate", str(cells), "--model", str(model), "--out", str(out), "--force"]
    return Reader("hce annotate", (model,), (out,), lambda: sys.exit(main(command)))


def make_cells(run: Path) -> Path:
    """A file of a user's cells with genes of the run."""
    import anndata

    genes = pd.read_parquet(next(run.glob(f"{DATA}/genes.parquet")))
    counts = np.random.default_rng(0).poisson(1.0, (50, len(genes))).astype(np.float32)
    cells = anndata.AnnData(counts, var=pd.DataFrame(index=genes["feature_id"].to_numpy()))
    cells.write_h5ad(run / "cells.h5ad")
    return Path("cells.h5ad")


@dataclass
class Kept:
    """Content and time of some files, to be compared and restored."""

    files: dict[Path, tuple[bytes, int]]

    @classmethod
    def of(cls, paths: tuple[Path, ...]) -> "Kept":
        files = [file for path in paths for file in _files(path)]
        return cls({file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files})

    def changed(self) -> set[Path]:
        """Files that are gone or have other content now."""
        return {f for f, (old, _) in self.files.items() if not f.is_file() or f.read_bytes() != old}

    def restore(self, paths: tuple[Path, ...]) -> None:
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for file, (content, time) in self.files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            os.utime(file, ns=(time, time))


def _files(path: Path) -> list[Path]:
    """A file with its record, or all files of a folder."""
    if path.is_dir():
        return [file for file in path.rglob("*") if file.is_file()]
    return [file for file in (path, path.with_name(f".{path.name}.crc32c")) if file.is_file()]


def run_apart(reader: Reader, said: Path) -> tuple[int, str]:
    """Runs a reader apart; its exit status (negative: a signal) and what it said."""
    process = os.fork()
    if process == 0:
        with said.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        signal.alarm(SECONDS)
        status = 0
        try:
            reader.run()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            import traceback

            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    log = reader.log.read_text() if reader.log and reader.log.is_file() else ""
    return status, said.read_text(errors="replace") + log


def outcome(status: int, said: str, changed: set[Path]) -> str:
    """What became of a fault."""
    if status < 0:
        return f"killed by signal {-status}"
    if "Traceback" in said or UNEXPECTED in said:
        return "traceback"
    if status:
        return REFUSED
    return f"silent change of {min(changed)}" if changed else HARMLESS


class Trials:
    """Trials on a finished run, in its folder.

    Args:
        readers: what reads its files.
        rng: decides what is damaged and how.
    """

    def __init__(self, readers: list[Reader], rng: np.random.Generator) -> None:
        self.readers = readers
        self.rng = rng
        self.said = Path(".fuzz.log")  # in the folder of the run
        found = {kind: sorted(Path().glob(pattern)) for kind, pattern in KINDS.items()}
        self.files = {
            kind: [(path, read) for path in paths if (read := self._readers_of(path))]
            for kind, paths in found.items()
        }
        self.files = {kind: files for kind, files in self.files.items() if files}
        self._unsteady: dict[str, set[Path]] = {}

    def _readers_of(self, path: Path) -> list[Reader]:
        name = path.name
        if name.endswith(".crc32c"):
            path = path.with_name(name.removeprefix(".").removesuffix(".crc32c"))
        return [reader for reader in self.readers if reader.reads(path)]

    def one(self, kind: str) -> tuple[str, str, str]:
        """Damages a file of a kind; returns the fault, what was damaged and read, the outcome."""
        path, readers = self.files[kind][self.rng.integers(len(self.files[kind]))]
        reader = readers[self.rng.integers(len(readers))]
        fault = list(FAULTS)[self.rng.integers(len(FAULTS))]
        others = [other for other, _ in self.files[kind] if other != path]
        before, outputs = Kept.of((path,)), Kept.of(reader.outputs)
        resume = self._forget_checkpoint(reader, path)
        try:
            FAULTS[fault](path, self.rng, others)
            status, said = run_apart(reader, self.said)
            changed = outputs.changed() if status == 0 else set()
        finally:
            outputs.restore(reader.outputs)
            before.restore((path,))
            resume.restore(tuple(resume.files))
        if changed:
            changed -= self._unsteady_outputs(reader)
        found = outcome(status, said, changed)
        return fault, f"{path} read by {reader.name}", found

    def _forget_checkpoint(self, reader: Reader, damaged: Path | None) -> Kept:
        """Makes a fit train anew, unless its checkpoint is what is damaged."""
        paths = [path for path in reader.inputs if path.name == "resume.pt" and path != damaged]
        kept = Kept.of(tuple(path for path in paths if path.is_file()))
        for path in kept.files:
            path.unlink()
        return kept

    def _unsteady_outputs(self, reader: Reader) -> set[Path]:
        """Outputs that differ from one run to the next without any fault, such as dates."""
        key = f"{reader.name} {reader.outputs}"
        if key not in self._unsteady:
            kept = Kept.of(reader.outputs)
            resume = self._forget_checkpoint(reader, None)
            status, said = run_apart(reader, self.said)
            if status:
                sys.exit(f"{key} fails without any fault:\n{said}")
            changed = kept.changed()
            records = {path.with_name(f".{path.name}.crc32c") for path in changed}
            self._unsteady[key] = changed | records
            kept.restore(reader.outputs)
            resume.restore(tuple(resume.files))
        return self._unsteady[key]


def run_trials(folder: Path, number: int, seed: int) -> int:
    """Runs trials, prints a table of what came of them, and each that went wrong.

    Returns:
        1 if one went wrong, else 0.
    """
    for module in IMPORTED:
        importlib.import_module(module)
    os.chdir(folder)
    readers = list(jobs_of(Path()))
    cells = make_cells(Path())
    for reader in readers:
        if any(path.name == "resume.pt" and not path.exists() for path in reader.inputs):
            run_apart(reader, Path(os.devnull))  # the run has removed the checkpoint of its fit
    readers += [annotate(model, cells) for model in Path().glob(KINDS["model files"])]
    trials = Trials(readers, np.random.default_rng(seed))
    kinds = list(trials.files)
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    wrong = []
    for trial in range(number):
        kind = kinds[trial % len(kinds)]
        fault, what, found = trials.one(kind)
        if sys.stderr.isatty():
            print(f"\r{trial + 1} of {number} trials", end="", file=sys.stderr)
        counts[kind][found if found in (REFUSED, HARMLESS) else "wrong"] += 1
        if found not in (REFUSED, HARMLESS):
            wrong.append(f"trial {trial}: {fault} of {what}: {found}")
            print(wrong[-1], flush=True)
    table = pd.DataFrame(counts).T.reindex(columns=[REFUSED, HARMLESS, "wrong"])
    print(table.fillna(0).astype(int).to_string())
    print(f"{number} trials, {len(wrong)} went wrong")
    return int(bool(wrong))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, help="a finished run; without it one is made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or Path(folder) / "run"
        if options.run is None:
            make_run(run)
        return run_trials(run.absolute(), options.trials, options.seed)


if __name__ == "__main__":
    sys.exit(main())
