"""Recording what a GPU is told to do, so that it can be told again in one call."""

from collections.abc import Callable
from contextlib import suppress

import torch

Work = Callable[[], object]


class GraphRecorder:
    """Records work on a GPU as a CUDA graph.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)

    def rehearse(self, work: Work) -> None:
        """Runs the work as it will be recorded: on another stream, and without waiting for the GPU.

        Raises:
            RuntimeError: the work waits for the GPU, and so cannot be recorded.
        """
        before, current = torch.cuda.get_sync_debug_mode(), torch.cuda.current_stream(self.device)
        self._stream.wait_stream(current)
        torch.cuda.set_sync_debug_mode("error")
        try:
            with torch.cuda.stream(self._stream):
                work()
        finally:
            torch.cuda.set_sync_debug_mode(before)
            current.wait_stream(self._stream)

    def record(self, work: Work) -> Work:
        """Records the work, which is not done thereby; what is returned does it.

        Raises:
            RuntimeError: the work cannot be recorded.
        """
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        current = torch.cuda.current_stream(self.device)
        # Threads that copy the next batch to the GPU go on meanwhile.
        recording = torch.cuda.graph(graph, pool, self._stream, capture_error_mode="thread_local")
        try:
            with recording:
                work()
        except BaseException:
            torch.cuda.set_stream(current)  # where recording fails, torch stays on the other one
            _forget_recording(self.device, pool)
            raise
        return graph.replay


def _forget_recording(device: torch.device, pool: tuple[int, int]) -> None:
    """Undoes what torch leaves behind where a recording fails.

    Its memory would count as being recorded for ever, so that none could be given back to the GPU;
    and the random numbers would refuse to be used.
    """
    with suppress(RuntimeError):  # where torch has ended it
        torch._C._cuda_endAllocateToPool(_index(device), pool)
        torch._C._cuda_releasePool(_index(device), pool)
    unused = torch.Generator(device=device)
    generator_of(device).graphsafe_set_state(unused.graphsafe_get_state())


def generator_of(device: torch.device) -> torch.Generator:
    """The random numbers of a device."""
    if device.type != "cuda":
        return torch.default_generator
    return torch.cuda.default_generators[_index(device)]


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index
