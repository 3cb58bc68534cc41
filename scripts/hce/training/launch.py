"""Starts the processes of one fit and waits for them: by srun in a SLURM job, else by torchrun."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import torch

from hce.errors import UserError
from hce.training.device import take_gpus
from hce.training.fit import FitSpec


def run_processes(
    spec: FitSpec, device: str, *, devices: int, nodes: int, threads: int, log: str | Path
) -> None:
    """Trains in several processes and waits for them.

    In a SLURM job they are started by srun, elsewhere by torchrun, on GPUs that no other fit uses.

    Args:
        spec: what is fitted.
        device: as for `prepare_device`.
        devices: processes per machine.
        nodes: machines.
        threads: processor threads of the job; in SLURM, of each of its tasks.
        log: file that the first process adds its log to.

    Raises:
        UserError: with the words of the process that raised one, where several machines are asked
            for outside of SLURM, or where srun is missing in a SLURM job.
    """
    # Carries the spec to the processes; removed at the end.
    told = Path(spec.model_path).with_name("processes.json")
    error = told.with_suffix(".error")
    error.unlink(missing_ok=True)
    told.parent.mkdir(parents=True, exist_ok=True)
    in_slurm = "SLURM_JOB_ID" in os.environ
    if in_slurm and shutil.which("srun") is None:
        raise UserError(
            "A fit of several processes is started by srun, which this environment does not have: "
            "set training.devices and training.nodes to 1, or run without the container."
        )
    threads = threads if in_slurm else max(threads // devices, 1)
    content = {
        "fit": asdict(spec),
        "device": device,
        "devices": devices,
        "nodes": nodes,
        "threads": threads,
        "log": str(log),
    }
    told.write_text(json.dumps(content, default=str))
    library = str(Path(__file__).parents[2])
    paths = [library, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(threads),
    }
    if not in_slurm and device != "cpu" and torch.cuda.is_available():
        gpus = take_gpus(devices)  # the processes take the first that they see
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(name for _, name in gpus)
    worker = ["-m", "hce.training.worker", str(told)]
    try:
        command = _srun(devices, nodes, threads) if in_slurm else _torchrun(devices, nodes)
        with open(log, "a") as words:
            started = subprocess.Popen(
                command + worker, env=environment, stdout=words, stderr=words
            )
            code, told_to_stop = _wait(started, pass_on=not in_slurm)
        if code != 0:
            raise UserError(_reason(error, code, told_to_stop, log))
    finally:
        told.unlink(missing_ok=True)
        error.unlink(missing_ok=True)


def _reason(error: Path, code: int, told_to_stop: bool, log: str | Path) -> str:
    """Why the processes failed, in their own words where they left any."""
    if error.is_file():
        return error.read_text()
    if told_to_stop:  # before they heard of it: while they started, or after the last epoch
        return "Stopped by SIGTERM: run the same again to go on from what was saved."
    return f"A process of the fit ended with status {code}: its log is {log}."


def _srun(devices: int, nodes: int, threads: int) -> list[str]:
    """One task per process, beside the step of the job that waits for them."""
    return [
        "srun",
        "--overlap",
        "--kill-on-bad-exit=1",
        f"--nodes={nodes}",
        f"--ntasks={devices * nodes}",
        f"--ntasks-per-node={devices}",
        f"--cpus-per-task={threads}",
        sys.executable,
    ]


def _torchrun(devices: int, nodes: int) -> list[str]:
    if nodes > 1:
        raise UserError(
            f"training.nodes is {nodes}, but this is no SLURM job: set it to 1, or run with "
            "--profile slurm-gpu."
        )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*command, f"--nproc-per-node={devices}"]


def _wait(process: subprocess.Popen, pass_on: bool) -> tuple[int, bool]:
    """Waits for the processes; the exit status, and whether this process was told to stop.

    Args:
        process: srun or torchrun.
        pass_on: whether it is told when this process is told to stop. SLURM tells the tasks itself,
            and srun would end them at once.
    """
    told_to_stop = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal told_to_stop
        del frame
        told_to_stop = True
        if pass_on:
            process.send_signal(number)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        return process.wait(), told_to_stop
    finally:
        signal.signal(signal.SIGTERM, previous)
