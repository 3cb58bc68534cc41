"""Whether a SLURM cluster gives what a run will ask for."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hce.jobs.slurm_requests import Request
from hce.jobs.slurm_runs import Run

PROBE = Path(__file__).parents[2] / "slurm_probe.py"
# Rules that read a Census.
CENSUS_RULES = {"read_release", "export_counts", "audit_leakage", "measure_agreement"}
# Seconds that srun is given to take back a request that was not granted.
WITHDRAWAL = 60.0
# First number of torch's CUDA version → the oldest driver that runs it, as NVIDIA's release notes
# of the CUDA toolkit say.
DRIVERS = {"13": 580, "12": 525}
# Files that a run makes at most: a few for each fit, shard and table.
RUN_FILES = 20_000


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

    def no_strange_jobs(self, runs: Sequence[Run]) -> bool:
        """Of each run that has jobs here it is known whether it lives."""
        said = {True: "a Snakemake that runs", False: "a dead one: the next run cancels them"}
        unknown = [run for run in runs if run.lives() is None]
        for run in runs:
            if (lives := run.lives()) is not None:
                self.report(True, f"jobs from this folder, of {said[lives]}: {run}")
        names = ",".join(run.id for run in unknown)
        return self.report(
            not unknown,
            f"jobs from this folder whose Snakemake cannot be seen: {'; '.join(map(str, unknown))}"
            if unknown
            else "no jobs from this folder of a run that cannot be seen",
            f"Leave them if it lives; else: scancel --name={names}",
        )

    def writable(self, key: str, folder: Path) -> bool:
        """A folder, named by a config key, can be made and written here."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder):
                pass
        except OSError as error:
            return self.report(
                False,
                f"{key} {folder} cannot be written: {error.strerror}",
                f"Set {key} to a folder of yours on a shared file system.",
            )
        return self.report(True, f"{key} {folder} can be written")

    def room(self, key: str, folder: Path, needed: float = 0.0) -> bool:
        """A folder has room for the bytes that a run will write there, and for its files."""
        of = os.statvfs(folder)
        free, files = of.f_bavail * of.f_frsize, of.f_favail if of.f_files else None
        room = f"{free / 1e9:,.0f} GB" + ("" if files is None else f" and {files:,} files")
        enough = free >= needed and (files is None or files >= RUN_FILES)
        wants = f", {needed / 1e9:,.0f} GB and {RUN_FILES:,} files needed" if needed else ""
        return self.report(
            enough,
            f"{key} {folder} has {room} free{wants}",
            f"Set {key} in the config to a larger file system; a quota also counts.",
        )

    def accepted(self, request: Request) -> bool:
        """SLURM would take such a job, and the partition's limits admit it."""
        done = _run(["sbatch", "--test-only", *request.options, "--wrap", "true"])
        said = (done.stderr or done.stdout).strip().splitlines() or [""]
        if done.returncode != 0:
            return self.report(
                False,
                f"{request}: {said[-1]}",
                "No node gives this, or the account or partition is wrong: edit the top of the "
                "profile (sinfo lists partitions, their nodes and GPUs), set-resources for "
                "memory and cores, or training.residency: disk for fits that ask for less memory.",
            )
        limits = _limits(request.partition)
        name = request.partition or "the default one"
        minutes, memory = _minutes(limits.get("MaxTime", "")), limits.get("MaxMemPerNode", "")
        if minutes is not None and minutes < int(request.value("-t") or 0):
            return self.report(
                False,
                f"{request}: partition {name} admits jobs of {minutes / 60:g} h",
                "SLURM would let the job wait for ever. Set slurm.max_hours in the config to that "
                "or less: a fit goes on where its time was up.",
            )
        if memory.isdigit() and int(memory) < int(request.value("--mem") or 0):
            return self.report(
                False,
                f"{request}: partition {name} gives a job {memory} MB on a node at most",
                "Name another partition at the top of the profile, or set training.residency to "
                "disk in the config, with which fits ask for less.",
            )
        known = "" if request.memory_known else " (its memory will follow from its store)"
        return self.report(True, f"SLURM accepts {request}{known}")

    def job(self, requests: Sequence[Request], scratch: Path, releases: Mapping[str, Any]) -> None:
        """A job in the place of some requests starts and sees what their rules need.

        Args:
            requests: of one `place`.
            scratch: data.dir.
            releases: uris and connection of the releases to open where rules read them.
        """
        place = " ".join(requests[0].place()) or "the defaults"
        reads = any(CENSUS_RULES & set(request.rules) for request in requests)
        with tempfile.TemporaryDirectory(dir=scratch, prefix=".check-") as folder:
            command = ["srun", "--ntasks-per-node=1", "--mem=2000", "--time=5"]
            command += [*requests[0].place(), sys.executable, str(PROBE)]
            command += [
                str(Path(folder).resolve()),
                json.dumps(releases) if reads and releases else "",
            ]
            try:
                done = _run(command, self.seconds)
            except subprocess.TimeoutExpired:
                self.report(
                    False,
                    f"a job with {place} did not start and end in {self.seconds / 60:.0f} min",
                    "The queue is long, or no node can give this: squeue --me --start says more.",
                )
                return
            if done.returncode == 0 and not Path(folder, "seen").is_file():
                self.report(
                    False,
                    f"a job with {place} writes to another {scratch} than this machine",
                    "Set data.dir to a file system that login and compute nodes share.",
                )
            elif done.returncode != 0:
                said = [line for line in done.stderr.splitlines() if not line.startswith("srun: ")]
                self.report(
                    False,
                    f"a job with {place}: {(said or done.stderr.splitlines() or [''])[-1]}",
                    "The compute nodes have to see this folder, its .venv and data.dir.",
                )
            else:
                seen = json.loads(done.stdout.splitlines()[-1])
                self._node(place, seen, requests[0].gpu, bool(reads and releases))

    def _node(self, place: str, seen: Mapping[str, Any], gpu: bool, reads: bool) -> None:
        """What a job found on its node."""
        problem = driver_problem(seen) if gpu else None
        self.report(
            problem is None,
            f"a job with {place}: {problem or seen['gpu'] or 'torch ' + seen['torch']}",
            'See envs/README.md, "Which driver": another build of torch, or another node.',
        )
        if seen["variables"]:
            self.report(
                False,
                f"jobs with {place} have {' and '.join(seen['variables'])} set",
                "A prolog of the site sets them: foreign packages may be imported; ask the site, "
                "or unset them in the shell that its jobs start from.",
            )
        if reads:
            self.report(
                not seen["release"],
                f"a job with {place} opens the Census" if not seen["release"] else seen["release"],
                "Jobs have no way to the Census: `make data` on a node that has one, then "
                '`snakemake --profile slurm-gpu` (docs/cluster.md, "Nodes without internet").',
            )


def driver_problem(seen: Mapping[str, Any]) -> str | None:
    """Why torch has no GPU in a job, or None where it has one.

    Args:
        seen: torch, cuda (the version that it is built for, or None), gpu (name or None) and driver
            (version or "").
    """
    if seen["gpu"]:
        return None
    if not seen["cuda"]:
        return f"torch {seen['torch']} is built without CUDA"
    oldest = DRIVERS.get(seen["cuda"].split(".")[0])
    built = f"torch {seen['torch']} is built for CUDA {seen['cuda']}"
    if not seen["driver"]:
        return f"{built}, and the node has no NVIDIA driver that answers"
    if oldest is not None and int(seen["driver"].split(".")[0]) < oldest:
        return f"{built}, which needs driver {oldest} or later, and the node has {seen['driver']}"
    return f"{built} and sees no GPU, though the node has driver {seen['driver']}"


def _limits(partition: str) -> dict[str, str]:
    """What `scontrol show partition` says of one."""
    said = _run(["scontrol", "show", "partition", *filter(None, [partition])]).stdout
    return dict(re.findall(r"(\w+)=(\S+)", said))


def _minutes(limit: str) -> int | None:
    """A limit in SLURM's words, [days-]hours:minutes:seconds, in minutes; None for no limit."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", limit)
    if found is None:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in found.groups())
    return (24 * days + hours) * 60 + minutes


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
