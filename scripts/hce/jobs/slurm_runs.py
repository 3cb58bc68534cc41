"""Which Snakemake a SLURM job belongs to, and what happens to the jobs of a dead one.

Snakemake names all jobs of a run with the run's id. Each run writes down beside it which process it
is and which results it makes, so that a later one can look whether it lives.
"""

import getpass
import json
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hce.errors import UserError
from hce.files import atomic_path
from hce.jobs.process import Process

# The id is a UUID, behind a prefix if one is set.
RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
# Where runs write themselves down, in the folder in which they work.
RUNS = Path(".snakemake", "slurm_runs")
# A job that is cancelled may write its state for as long as the site's KillWait.
PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class Run:
    """A Snakemake that submitted, or submits, from a folder.

    Attributes:
        id: name of its SLURM jobs.
        jobs: ids of those that have not ended.
        results: name of the results that it makes, the config's `run`; None where it is unknown.
        process: the Snakemake; None where it is unknown.
    """

    id: str
    jobs: tuple[str, ...]
    results: str | None = None
    process: Process | None = None

    def lives(self) -> bool | None:
        """Whether its Snakemake runs; None where that cannot be known."""
        return None if self.process is None else self.process.lives()

    def __str__(self) -> str:
        whose = f"run {self.results}, {self.process}" if self.process else "an unknown run"
        return f"{' '.join(self.jobs)} ({whose})"


def record_run(folder: str | Path, run_id: str, results: str) -> None:
    """Writes down that this process submits from a folder, and what it makes."""
    with atomic_path(Path(folder) / RUNS / f"{run_id}.json") as temporary:
        temporary.write_text(json.dumps({"results": results, "process": asdict(Process.own())}))


def _read(folder: Path, run_id: str, jobs: Sequence[str]) -> Run:
    """A run as it was written down, if it was."""
    try:
        known = json.loads((folder / RUNS / f"{run_id}.json").read_text())
        return Run(run_id, tuple(jobs), known["results"], Process(**known["process"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Run(run_id, tuple(jobs))


def queued_runs(folder: str | Path) -> list[Run]:
    """This user's runs that submitted from a folder and have jobs that have not ended.

    Raises:
        UserError: squeue is missing or gives no answer.
    """
    command = ["squeue", f"--user={getpass.getuser()}", "--noheader", "--format=%A|%j|%Z"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"SLURM's squeue cannot be asked for running jobs: {error}.") from error
    if done.returncode != 0:
        raise UserError(f"SLURM's squeue gives no answer: {done.stderr.strip()}.")
    jobs: dict[str, list[str]] = {}
    for job, name, place in (line.split("|", 2) for line in done.stdout.splitlines()):
        if RUN_ID.search(name) and Path(place).resolve() == Path(folder).resolve():
            jobs.setdefault(name, []).append(job)
    return [_read(Path(folder), run_id, ids) for run_id, ids in jobs.items()]


def cancel_dead_runs(folder: str | Path, results: str) -> list[str]:
    """Cancels what dead Snakemakes left running in a folder, and waits until it has ended.

    Jobs of a Snakemake that lives are left alone. So are those of one that may live, unless they
    may write the results that are to be made now. A fit that is cancelled keeps its checkpoint.

    Args:
        folder: in which the runs work.
        results: name of the results that are to be made, the config's `run`.

    Returns:
        Ids of the jobs that were cancelled.

    Raises:
        UserError: SLURM gives no answer, a job does not end, or a run that makes the same results
            may live on another machine.
    """
    runs = queued_runs(folder)
    for run in runs:
        if run.lives() is None and run.results in (None, results):
            raise UserError(
                f"SLURM jobs {run} may write the same results, and whether their Snakemake lives "
                f"cannot be seen from here: if it is dead, `scancel --name={run.id}`, then start "
                "again."
            )
    jobs = [job for run in runs if run.lives() is False for job in run.jobs]
    if jobs:
        _cancel(folder, jobs)
    for path in (Path(folder) / RUNS).glob("*.json"):
        if _read(Path(folder), path.stem, ()).lives() is False:
            path.unlink(missing_ok=True)
    return jobs


def _cancel(folder: str | Path, jobs: Sequence[str]) -> None:
    """Cancels jobs and waits until they have ended."""
    subprocess.run(["scancel", *jobs], check=False, capture_output=True, timeout=120)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := set(jobs) & {job for run in queued_runs(folder) for job in run.jobs}:
        if time.monotonic() > deadline:
            raise UserError(
                f"SLURM jobs {' '.join(sorted(left))} of an earlier run in {folder} do not end: "
                "wait until squeue no longer lists them, then start again."
            )
        time.sleep(1)
