"""One fit over several processes, one a GPU: torch.distributed by way of Lightning Fabric.

Every process makes its part of each batch: from its own part of the cells where they are in memory,
by an order that all share where they are on disk. A step is that of one process on the whole batch:
gradients are averaged, and the weights of the weighted mean are summed over all processes. Batch
normalisation alone stays with each process.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from hce.batches.memory import RESIDENCIES
from hce.errors import UserError


class OneProcess:
    """A fit that is alone.

    Attributes:
        rank: number of this process.
        world_size: number of processes.
        local_world_size: number of processes on this machine.
    """

    rank = 0
    world_size = 1
    local_world_size = 1

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
    """A fit over processes that `launch.run_processes` started, on one machine or several.

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
        self.world_size = self._fabric.world_size
        self.local_world_size = devices

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
        parts = [torch.empty_like(own) for _ in range(self.world_size)]
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


def check_same_start(path: str | Path, epoch: int, batches: int, processes: OneProcess) -> None:
    """Refuses to start from states that differ: the processes would wait for each other in vain.

    Args:
        path: the saved state, which each process reads by itself.
        epoch: at which this process would start.
        batches: of this epoch that are done.
        processes: of the fit.

    Raises:
        UserError: another process would start elsewhere.
    """
    starts = processes.gather(torch.tensor([epoch, batches])).tolist()
    if any(start != starts[0] for start in starts):
        where = ", ".join(f"batch {batch} of epoch {number}" for number, batch in starts)
        raise UserError(
            f"The processes of this fit would go on at different places ({where}), because they "
            f"do not all read the same in {path}: run again, or delete it to start anew."
        )


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
