"""One fit over several processes, one a GPU: torch.distributed by way of Lightning Fabric.

Every process sees the same order of cells and takes its part of each batch, so that a step is that
of one process on the whole batch: gradients are averaged, and the weights of the weighted mean are
summed over all processes. Batch normalisation alone stays with each process.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from hce.batches.placement import RESIDENCIES
from hce.errors import UserError


class OneProcess:
    """A fit that is alone.

    Attributes:
        rank: number of this process.
        size: number of processes.
        neighbours: number of processes on this machine.
    """

    rank = 0
    size = 1
    neighbours = 1

    def set_up(
        self, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """What the training step calls in place of the model and the optimiser."""
        return model, optimizer

    def sum(self, value: Tensor) -> Tensor:
        """Sum of a tensor over the processes."""
        return value

    def any(self, value: bool) -> bool:
        """Whether it holds in any process."""
        return value

    def gather(self, value: Tensor) -> Tensor:
        """A tensor of every process, (processes, …)."""
        return value[None]

    def share_statistics(self, model: nn.Module) -> None:
        """Gives every process the running statistics of the first, as the model file has them."""


class ManyProcesses(OneProcess):
    """A fit over processes that `run_processes` started, on one machine or several.

    Args:
        devices: processes a machine, one a GPU.
        nodes: machines.
        device: "cuda" or "cpu"; processes on CPUs talk by gloo, those on GPUs by NCCL.
    """

    def __init__(self, devices: int, nodes: int, device: str) -> None:
        from lightning_fabric import Fabric  # seconds to import, and one process needs none of it

        self._fabric = Fabric(
            accelerator="cuda" if device == "cuda" else "cpu",
            strategy="ddp",
            devices=devices,
            num_nodes=nodes,
        )
        self._fabric.launch()
        self.rank = self._fabric.global_rank
        self.size = self._fabric.world_size
        self.neighbours = devices

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self._fabric.device

    def set_up(
        self, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """A model whose gradients are averaged over the processes."""
        wrapped, stepping = self._fabric.setup(model, optimizer)
        return wrapped, stepping

    def sum(self, value: Tensor) -> Tensor:
        """Sum of a tensor over the processes; on the device of the process."""
        total = value.detach().to(self.device, copy=True)
        torch.distributed.all_reduce(total)
        return total.to(value.device)

    def any(self, value: bool) -> bool:
        """Whether it holds in any process."""
        return bool(self.sum(torch.tensor(int(value))))

    def gather(self, value: Tensor) -> Tensor:
        """A tensor of every process, (processes, …)."""
        own = value.to(self.device)
        parts = [torch.empty_like(own) for _ in range(self.size)]
        torch.distributed.all_gather(parts, own)
        return torch.stack(parts).to(value.device)

    def share_statistics(self, model: nn.Module) -> None:
        """Gives every process the running statistics of the first, as the model file has them."""
        for statistic in model.buffers():
            torch.distributed.broadcast(statistic, src=0)


def common_residency(own: str, processes: OneProcess) -> str:
    """What suits all processes of a fit: the order of cells differs between memory and disk."""
    chosen = processes.gather(torch.tensor(RESIDENCIES.index(own)))
    return RESIDENCIES[int(chosen.max())]


def check_processes(batch_size: int, processes: int) -> None:
    """Refuses batches that cannot be divided evenly.

    Raises:
        UserError: the batch size is no multiple of the number of processes.
    """
    if batch_size % processes:
        raise UserError(
            f"training.batch_size = {batch_size:,} cannot be divided among training.devices × "
            f"training.nodes = {processes} processes: choose a multiple."
        )


def run_processes(
    call: Mapping[str, Any],
    *,
    device: str,
    devices: int,
    nodes: int,
    threads: int,
    log: str | Path,
    spec: Path,
) -> None:
    """Trains in several processes and waits for them.

    In a SLURM job they are started by srun, elsewhere by torchrun.

    Args:
        call: arguments of `fit_model`, plain values; the device and the processes are added.
        device: as for `prepare_device`.
        devices: processes a machine.
        nodes: machines.
        threads: processor threads of the job; in SLURM, of each of its tasks.
        log: file that the first process adds its log to.
        spec: file that carries the call to the processes; removed at the end.

    Raises:
        UserError: with the words of the process that raised one, where several machines are asked
            for outside of SLURM, or where srun is missing in a SLURM job.
    """
    error = spec.with_suffix(".error")
    error.unlink(missing_ok=True)
    spec.parent.mkdir(parents=True, exist_ok=True)
    in_slurm = "SLURM_JOB_ID" in os.environ
    if in_slurm and shutil.which("srun") is None:
        raise UserError(
            "A fit of several processes is started by srun, which this environment does not have: "
            "set training.devices and training.nodes to 1, or run without the container."
        )
    threads = threads if in_slurm else max(threads // devices, 1)
    told = {
        **{"call": call, "device": device, "devices": devices, "nodes": nodes},
        **{"threads": threads, "log": str(log)},
    }
    spec.write_text(json.dumps(told, default=str))
    library = str(Path(__file__).parents[2])
    paths = [library, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(threads),
    }
    worker = ["-m", "hce.training.worker", str(spec)]
    try:
        command = _srun(devices, nodes, threads) if in_slurm else _torchrun(devices, nodes)
        with open(log, "a") as words:
            started = subprocess.Popen(
                command + worker, env=environment, stdout=words, stderr=words
            )
            code = _wait(started, pass_on=not in_slurm)
        if code != 0:
            raise UserError(
                error.read_text()
                if error.is_file()
                else f"A process of the fit ended with status {code}: its log is {log}."
            )
    finally:
        spec.unlink(missing_ok=True)
        error.unlink(missing_ok=True)


def _srun(devices: int, nodes: int, threads: int) -> list[str]:
    """One task a process, beside the step of the job that waits for them."""
    return [
        *("srun", "--overlap", "--kill-on-bad-exit=1", f"--nodes={nodes}"),
        *(f"--ntasks={devices * nodes}", f"--ntasks-per-node={devices}"),
        *(f"--cpus-per-task={threads}", sys.executable),
    ]


def _torchrun(devices: int, nodes: int) -> list[str]:
    if nodes > 1:
        raise UserError(
            f"training.nodes is {nodes}, but this is no SLURM job: set it to 1, or run with "
            "--profile slurm-gpu."
        )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*command, f"--nproc-per-node={devices}"]


def _wait(process: subprocess.Popen, pass_on: bool) -> int:
    """Waits for the processes.

    Args:
        process: srun or torchrun.
        pass_on: whether it is told when this process is told to stop. SLURM tells the tasks itself,
            and srun would end them at once.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        if pass_on:
            process.send_signal(number)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, previous)
