"""Whether a SLURM cluster gives what the profile asks for."""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Rules whose jobs have a GPU; a fit may have several.
GPU_RULES = ("read_checkpoint", "fit", "predict", "score_fit", "export_model", "annotate_cells")
# Those of one SLURM job with a fit, and the minutes that each asks for at its first attempt.
FIT_JOB_MINUTES = {"fit": 720, "predict": 120, "score_fit": 30, "export_model": 120}
# Seconds that srun is given to take back a request that was not granted.
WITHDRAWAL = 60.0

# What a job of the check runs: a file in scratch, and torch's view of the GPU.
PROBE = """
import sys
from pathlib import Path
Path(sys.argv[1]).write_text("seen")
import torch
if sys.argv[2] == "1" and not torch.cuda.is_available():
    built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    sys.exit(f"torch {torch.__version__} is built {built} and sees no GPU")
print(torch.cuda.get_device_name() if sys.argv[2] == "1" else "torch " + torch.__version__)
"""


@dataclass(frozen=True)
class Request:
    """What the profile asks of SLURM for some rules.

    Attributes:
        partition: name, or "" for the site's default.
        account: name, or "" for the user's default.
        gpu: GPUs, on all nodes together.
        gpu_model: name, or "" for any.
        nodes: machines.
        others: further options, as the profile has them.
    """

    partition: str
    account: str = ""
    gpu: int = 0
    gpu_model: str = ""
    nodes: int = 1
    others: tuple[str, ...] = ()

    def options(self) -> list[str]:
        """For sbatch and srun."""
        options = [f"--partition={self.partition}"] if self.partition else []
        options += [f"--account={self.account}"] if self.account else []
        if self.gpu:
            model = f"{self.gpu_model}:" if self.gpu_model else ""
            options.append(f"--gpus={model}{self.gpu}")
        options += [f"--nodes={self.nodes}"] if self.nodes > 1 else []
        return options + list(self.others)

    def __str__(self) -> str:
        return " ".join(self.options()) or "the defaults"


def requests_of(profile: Mapping[str, Any], training: Mapping[str, Any]) -> list[Request]:
    """The different requests of a profile: the defaults, those for GPUs, and others.

    Args:
        profile: content of its file.
        training: the config's training: device, devices, nodes.
    """
    rules = profile.get("set-resources") or {}
    gpus = dict.fromkeys(GPU_RULES, 1) | {"fit": training["devices"] * training["nodes"]}
    of_all = [
        f"--{name}={profile[f'slurm-{name}']}"
        for name in ("qos", "reservation")
        if profile.get(f"slurm-{name}")
    ]
    found = []
    for rule in dict.fromkeys(["", *GPU_RULES, *rules]):  # "": the defaults alone
        values = {**(profile.get("default-resources") or {}), **rules.get(rule, {})}
        said = {name: "" if v is None else str(v).strip("'\"") for name, v in values.items()}
        gpu = int(said.get("gpu") or gpus.get(rule, 0)) if training["device"] != "cpu" else 0
        others = [f"--{name}={said[name]}" for name in ("qos", "constraint") if said.get(name)]
        others += [*of_all, *shlex.split(said.get("slurm_extra", ""))]
        found.append(
            Request(
                said.get("slurm_partition", ""),
                said.get("slurm_account", ""),
                gpu,
                said.get("gpu_model", ""),
                training["nodes"] if rule == "fit" else 1,
                tuple(others),
            )
        )
    return list(dict.fromkeys(found))


def longest_fit_job(profile: Mapping[str, Any]) -> int:
    """Minutes that the SLURM job of a fit asks for at its last attempt.

    A number in the profile is what every attempt asks for; an expression there is not known.
    """
    rules = profile.get("set-resources") or {}
    attempts = 1 + int(profile.get("retries", 0))
    total = 0
    for rule, first in FIT_JOB_MINUTES.items():
        fixed = rules.get(rule, {}).get("runtime")
        total += fixed if isinstance(fixed, int) else attempts * first
    return total


class Preflight:
    """The checks; each prints one line, and a cure where it fails.

    Args:
        seconds: how long a job may wait in the queue.

    Attributes:
        failed: number of checks that failed.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.failed = 0

    def report(self, good: bool, what: str, cure: str = "") -> bool:
        """Prints one check's outcome and returns it."""
        print(f"  ok    {what}" if good else f"  FAIL  {what}\n        {cure}", flush=True)
        self.failed += not good
        return good

    def commands(self) -> bool:
        """SLURM's commands are there."""
        missing = [c for c in ("sbatch", "squeue", "scancel", "srun") if shutil.which(c) is None]
        return self.report(
            not missing,
            f"no {', '.join(missing)}" if missing else "sbatch, squeue, scancel and srun are here",
            "Run this on a login node of the cluster (perhaps after: module load slurm).",
        )

    def controller(self) -> bool:
        """The controller answers."""
        done = _run(["scontrol", "ping"])
        return self.report(
            done.returncode == 0 and "UP" in done.stdout,
            (done.stdout or done.stderr).strip().splitlines()[0],
            "Wait until the controller is up, or ask the site.",
        )

    def remembers_jobs(self) -> bool:
        """Ended jobs stay visible longer than Snakemake waits between two looks."""
        found = re.search(r"MinJobAge\s*=\s*(\d+)", _run(["scontrol", "show", "config"]).stdout)
        age = int(found.group(1)) if found else 0
        return self.report(
            age >= 200,
            f"squeue remembers ended jobs for {age} s",
            "Snakemake may look once in 180 s: set slurm-status-command: sacct in the profile.",
        )

    def long_enough(self, request: Request, minutes: int) -> bool:
        """The partition of a fit admits a job of so many minutes."""
        command = ["scontrol", "show", "partition", *filter(None, [request.partition])]
        found = re.search(r"MaxTime=(\S+)", _run(command).stdout)
        limit = _minutes(found.group(1)) if found else None
        name = request.partition or "the default one"
        return self.report(
            limit is None or limit >= minutes,
            f"partition {name} admits jobs of {_hours(limit)}; a fit's last attempt asks for "
            f"{_hours(minutes)}",
            "SLURM would let that job wait for ever. Give fit in the profile a runtime in minutes, "
            f"for example fit: {{slurm_partition: {request.partition}, runtime: 600}}, and perhaps "
            "predict, score_fit and export_model: a fit goes on where its time was up.",
        )

    def nothing_left(self, jobs: Sequence[str]) -> bool:
        """No Snakemake submits from this folder, dead or alive."""
        return self.report(
            not jobs,
            f"jobs from this folder in the queue: {' '.join(jobs) or 'none'}",
            "Leave them if a Snakemake runs here; else the next one cancels them.",
        )

    def writable(self, scratch: Path) -> bool:
        """The scratch directory can be made and written here."""
        try:
            scratch.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=scratch):
                pass
        except OSError as error:
            return self.report(
                False,
                f"data.dir {scratch} cannot be written: {error.strerror}",
                "Set data.dir in config/config.yaml to a folder of yours on a shared file system.",
            )
        free = shutil.disk_usage(scratch).free / 2**30
        return self.report(True, f"data.dir {scratch} can be written, {free:.0f} GiB free")

    def accepted(self, request: Request) -> bool:
        """SLURM would take such a job."""
        done = _run(["sbatch", "--test-only", *request.options(), "--wrap", "true"])
        said = (done.stderr or done.stdout).strip().splitlines() or [""]
        return self.report(
            done.returncode == 0,
            f"SLURM accepts {request}" if done.returncode == 0 else f"{request}: {said[-1]}",
            "Edit account, partition and GPU at the top of the profile (sinfo lists partitions).",
        )

    def job(self, request: Request, scratch: Path) -> bool:
        """A job starts, sees the scratch directory, and torch in it sees its GPU."""
        with tempfile.TemporaryDirectory(dir=scratch, prefix=".check-") as folder:
            mark = Path(folder).resolve() / "seen"
            command = ["srun", "--ntasks-per-node=1", "--mem=2000", "--time=5", *request.options()]
            command += [sys.executable, "-c", PROBE, str(mark), str(int(request.gpu > 0))]
            try:
                done = _run(command, self.seconds)
            except subprocess.TimeoutExpired:
                return self.report(
                    False,
                    f"a job with {request} did not start and end in {self.seconds / 60:.0f} min",
                    "The queue is long, or no node can give this: squeue --me --start says more.",
                )
            said = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
            if done.returncode == 0 and not mark.is_file():
                return self.report(
                    False,
                    f"a job with {request} writes to another {scratch} than this machine",
                    "Set data.dir to a file system that login and compute nodes share.",
                )
            errors = [line for line in said if not line.startswith("srun: ")] or said or [""]
            return self.report(
                done.returncode == 0,
                f"a job with {request}: {errors[-1]}",
                "GPU jobs need a driver on the node and torch's CUDA build: see envs/README.md."
                if request.gpu
                else "The compute nodes have to see this folder, its .venv and data.dir.",
            )


def _minutes(limit: str) -> int | None:
    """A limit in SLURM's words, [days-]hours:minutes:seconds, in minutes; None for no limit."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", limit)
    if found is None:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in found.groups())
    return (24 * days + hours) * 60 + minutes


def _hours(minutes: int | None) -> str:
    return "any length" if minutes is None else f"{minutes / 60:.3g} h"


def _run(command: Sequence[str], seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.terminate()  # unlike a killed one, srun then takes its request back
            try:
                process.communicate(timeout=WITHDRAWAL)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)
