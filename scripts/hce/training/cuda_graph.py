"""Recording what a GPU is told to do, so that it can be told again in one call."""

from collections.abc import Callable

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
        graph = torch.cuda.CUDAGraph()
        current = torch.cuda.current_stream(self.device)
        try:
            # Threads that copy the next batch to the GPU go on meanwhile.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                work()
        except BaseException:
            torch.cuda.set_stream(current)  # where recording fails, torch stays on the other one
            _forget_recording(self.device)
            raise
        return graph.replay


def _forget_recording(device: torch.device) -> None:
    """Gives the GPU's random numbers a new state: that of a failed recording refuses to be used."""
    unused = torch.Generator(device=device)
    generator_of(device).graphsafe_set_state(unused.graphsafe_get_state())


def generator_of(device: torch.device) -> torch.Generator:
    """The random numbers of a device."""
    if device.type != "cuda":
        return torch.default_generator
    index = torch.cuda.current_device() if device.index is None else device.index
    return torch.cuda.default_generators[index]
