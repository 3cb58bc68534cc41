"""A SLURM and the Snakemakes that run on it, as the tests see them."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hce.models.trained_model import load_model
from workplace import Workplace

HERE = Path(__file__).parent
SLOW = "faulty_models:Faulty"
# The exit status of cluster.sh where a machine cannot run a SLURM.
CANNOT = 3


def slow_model(pause: float = 0.3, fails: str = "never") -> dict:
    """An entry of the config's models: the demo's linear model with trouble, see faulty_models."""
    return {
        "class": SLOW,
        "arguments": {"pause": pause, "fails": fails},
        "optimizer": {"lr": 0.002, "weight_decay": 0.01},
        "schedule": {"gamma": 0.9},
    }


def fits_of(models: Mapping[str, dict]) -> dict:
    """Config of one fit a model."""
    return {
        "models": dict(models),
        "fits": {"models": list(models), "losses": ["ce"], "seeds": [0]},
        "figures": {"model": next(iter(models))},
    }


def scores_of(models: Iterable[str]) -> list[str]:
    """What a run of `fits_of` is asked for."""
    return [f"results/demo/scores/{model}/ce/0/overall.tsv" for model in models]


def wait_for(what: str, condition: Callable[[], object], seconds: float = 900.0):
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

    def try_to(self, command: str) -> subprocess.CompletedProcess[str]:
        """Calls cluster.sh."""
        call = [HERE / "cluster.sh", command, self.folder]
        return subprocess.run(call, capture_output=True, text=True)

    def control(self, command: str) -> None:
        done = self.try_to(command)
        assert done.returncode == 0, done.stderr

    def run(self, *command: str, folder: Path | None = None) -> str:
        done = subprocess.run(command, env=self.env, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def state_of(self, job: str) -> str:
        """A job's state in SLURM's words: RUNNING, PENDING, …"""
        return self.field_of(job, "JobState")

    def field_of(self, job: str, field: str) -> str:
        """One field of what SLURM knows of a job."""
        found = re.search(rf"\b{field}=(\S+)", self.run("scontrol", "show", "job", job))
        assert found
        return found.group(1)

    def wait_for_end(self, job: str, seconds: float) -> str:
        """The state in which a job ends."""
        going = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")
        wait_for(f"the end of job {job}", lambda: self.state_of(job) not in going, seconds)
        return self.state_of(job)

    def restart_now(self, job: str) -> None:
        """Lets a requeued job start at once; SLURM has it wait for two minutes."""

        def started() -> bool:
            if self.state_of(job) == "PENDING":
                # SLURM sets the two minutes when the last process has ended, perhaps after this.
                self.run("scontrol", "update", f"JobId={job}", "StartTime=now")
                time.sleep(1)
            return self.state_of(job) == "RUNNING"

        wait_for(f"the new start of job {job}", started)

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

    def fit_folder(self, model: str) -> Path:
        return self.place.folder / f"results/demo/fits/{model}/ce/0"

    def weights_of(self, model: str) -> dict:
        """The weights of a fit that is done."""
        path = self.fit_folder(model) / "model.pt"
        return load_model(path, trusted=[SLOW]).model.state_dict()

    def fit_log(self, model: str) -> str:
        """What a fit says of itself; nothing before it starts."""
        log = self.place.folder / f"results/demo/logs/fit/{model}_ce_0.log"
        return log.read_text() if log.exists() else ""

    def asked(self, model: str) -> dict:
        """What the last start of a fit asked SLURM for."""
        return json.loads(re.search(r"Asked for: (.*)", self.fit_log(model)).group(1))

    def fit_started(self, model: str) -> float:
        """When the last start of a fit was, in seconds of `time.time`."""
        return datetime.strptime(self.fit_log(model)[:19], "%Y-%m-%d %H:%M:%S").timestamp()

    def training_job(self, model: str) -> str:
        """The SLURM job of a fit, once its first epoch is done."""
        wait_for(f"{model}'s first epoch", (self.fit_folder(model) / "history.tsv").exists)
        job = self.cluster.job_of(self.place, f"fit:model={model},loss=ce,seed=0")
        assert job
        return job

    def submitted(self) -> int:
        return len(re.findall(r"has been submitted with SLURM jobid", self.output()))
