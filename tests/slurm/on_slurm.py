"""A SLURM and the Snakemakes that run on it, as the tests see them."""

import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workplace import Workplace

HERE = Path(__file__).parent


def wait_for(what: str, condition: Callable[[], object], seconds: float = 300.0):
    """Waits until the condition holds and returns what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.2)
    return found


@dataclass
class Cluster:
    """A running SLURM.

    Attributes:
        folder: of its configuration, state and logs.
        env: environment in which sbatch, squeue, … and Snakemake speak to it.
    """

    folder: Path
    env: dict[str, str]

    def control(self, command: str) -> None:
        done = subprocess.run(
            [HERE / "cluster.sh", command, self.folder], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def job_of(self, place: Workplace, target: str) -> str:
        """The id of the running SLURM job that makes a target (`rule:wildcard=value,…`)."""
        rows = self.run("squeue", "--noheader", "--states=R", "--format=%A|%Z").split()
        for job, folder in (row.split("|") for row in rows):
            script = self.run("scontrol", "write", "batch_script", job, "-")
            if folder == str(place.folder) and target in script:
                return job
        return ""


@dataclass
class Run:
    """A Snakemake that submits to the cluster; its output goes to a file."""

    cluster: Cluster
    place: Workplace
    log: Path
    process: subprocess.Popen

    def wait(self, seconds: float = 1200.0) -> str:
        """Waits for the end and returns all output."""
        self.process.wait(seconds)
        return self.output()

    def output(self) -> str:
        return self.log.read_text()

    def submitted(self) -> int:
        return len(re.findall(r"has been submitted with SLURM jobid", self.output()))
