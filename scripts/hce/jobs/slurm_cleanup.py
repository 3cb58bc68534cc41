"""Before a run on SLURM: no jobs of a dead Snakemake are left, and squeue is asked for the new."""

import getpass
import re
import subprocess
import time
from pathlib import Path

from hce.errors import UserError

# Snakemake names all jobs of one run with the run's UUID, behind a prefix if one is set.
RUN_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
# A job that is cancelled may write its state for as long as the site's KillWait.
PATIENCE_SECONDS = 300.0


def leftover_jobs(folder: str | Path) -> list[str]:
    """Ids of this user's jobs that a Snakemake submitted from a folder and that have not ended.

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
    rows = [line.split("|", 2) for line in done.stdout.splitlines()]
    return [
        job
        for job, name, place in rows
        if RUN_NAME.search(name) and Path(place).resolve() == Path(folder).resolve()
    ]


def cancel_leftover_jobs(folder: str | Path) -> list[str]:
    """Cancels what a killed Snakemake left running in a folder, and waits until it has ended.

    To be called by a Snakemake that holds the folder's lock: no other one is alive there, and two
    jobs must not write the same files. A fit that is cancelled keeps its checkpoint.

    Returns:
        Ids of the jobs that were cancelled.

    Raises:
        UserError: SLURM gives no answer, or a job does not end.
    """
    jobs = leftover_jobs(folder)
    if not jobs:
        return []
    subprocess.run(["scancel", *jobs], check=False, capture_output=True, timeout=120)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := set(jobs) & set(leftover_jobs(folder)):
        if time.monotonic() > deadline:
            raise UserError(
                f"SLURM jobs {' '.join(sorted(left))} of an earlier run in {folder} do not end: "
                "wait until squeue no longer lists them, then start again."
            )
        time.sleep(1)
    return jobs


def keep_asking_squeue() -> None:
    """Has Snakemake's SLURM plugin ask squeue for its jobs also after the controller was down.

    Before each look, plugin 2.8 asks the controller for MinJobAge, and without an answer takes
    sacct for that look; where a site has no job database, it then never hears of its jobs again.
    The answer, which stays the same, is kept here instead.
    """
    import snakemake_executor_plugin_slurm as plugin

    age = plugin.get_min_job_age()
    if age is not None:
        plugin.get_min_job_age = lambda: age
