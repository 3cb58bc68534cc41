"""A training step that is recorded once and then replayed, on a GPU.

A step is a hundred kernels and more, and launching each of them takes longer than most of them run.
A CUDA graph holds all of them, with the addresses of all tensors, and is launched in one call.

Only the work on the GPU is recorded. A step that waits for the GPU, or does something else each
time (counts its calls, draws random numbers on the host), has to be taken as it is written. So the
first steps are taken both ways, from the same state, and compared; a fit goes on from the ordinary
one. What the recorded step is not seen to do in these steps it will not do later: a model should
not read clocks, files or variables outside of it.
"""

import logging
import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hce.training.cuda_graph import GraphRecorder, Work, generator_of
from hce.training.distributed import OneProcess

logger = logging.getLogger(__name__)

Step = Callable[..., Tensor]  # with the arguments of `loop.training_step`

REHEARSALS = 2
TRIALS = 3  # steps that are taken both ways
# How far the two may be apart: in times of what the step changes, and of a number itself. AdamW
# makes as much of the smallest gradients, which are mostly rounding, as of the largest.
SHARE = 1e-2
ROUNDING = 1e-6
REGISTERED = ("_parameters", "_buffers")  # attributes of a module that it lists itself
PLAIN = (bool, int, float, str, bytes, type(None))


class Recorder(Protocol):
    """Records work; see `GraphRecorder`."""

    def rehearse(self, work: Work) -> None:
        """Runs the work as it will be recorded."""

    def record(self, work: Work) -> Work:
        """Records the work without doing it; what is returned does it."""


def recorded_where_possible(step: Step, device: torch.device, processes: OneProcess) -> Step:
    """A step that is replayed where that can be done; else the step itself.

    Args:
        step: as `loop.training_step`.
        device: of the model.
        processes: those that take the step together; several wait for each other within it, and
            take it as it is.
    """
    if device.type != "cuda" or processes.world_size > 1:
        return step
    return CapturedStep(step, GraphRecorder(device))


class CapturedStep:
    """A step of one model, one loss and one optimiser; called as `loop.training_step`.

    A batch is replayed where it lies at the same address as the one that was recorded, and has its
    size; others are taken as before. The learning rate may change from step to step.

    Args:
        step: the ordinary step.
        recorder: records it.
    """

    def __init__(self, step: Step, recorder: Recorder) -> None:
        self._step = step
        self._recorder = recorder
        self._recording: _Recording | None = None
        self._steps = 0
        self._refused = False

    def __call__(
        self,
        model: nn.Module,
        loss: nn.Module,
        optimizer: torch.optim.Optimizer,
        max_gradient_norm: float,
        expression: Tensor,
        labels: Tensor,
        *others: Any,
    ) -> Tensor:
        """One optimiser step; see `loop.training_step`."""

        def take(x: Tensor, y: Tensor) -> Tensor:
            return self._step(model, loss, optimizer, max_gradient_norm, x, y, *others)

        recording = self._recording
        elsewhere = recording is not None and not recording.takes(expression, labels)
        # The first step makes the state of the optimiser.
        if self._refused or self._steps == 0 or elsewhere:
            self._steps += 1
            return take(expression, labels)
        if self._steps > TRIALS:
            assert recording is not None
            return recording(labels)
        self._steps += 1
        state = _State(model, loss, optimizer, expression.device)
        return self._both_ways(take, state, expression, labels)

    def _both_ways(self, take: Step, state: "_State", expression: Tensor, labels: Tensor) -> Tensor:
        """Takes a step twice from the same state; its outcome is that of the ordinary step."""
        before, host = state.copy(), state.of_host()
        value = take(expression, labels)
        after = state.copy()
        try:
            _check_same_host(host, state.of_host())
            state.put_back(before)
            if self._recording is None:
                made = _Recording(take, state.optimizer, value, expression, labels)
                made.record(self._recorder, partial(state.put_back, before))
                self._recording = made
            found = self._recording(labels)
            _check_equal(found, value, state.copy(), after, before)
        except Exception as error:  # of the driver, and of the model's own code
            self._refuse(error)
        else:
            if self._steps > TRIALS:
                logger.info("training steps are replayed as one CUDA graph")
        state.put_back(after)
        return value

    def _refuse(self, error: Exception) -> None:
        self._refused, self._recording = True, None
        reason = " ".join(str(error).split()) or type(error).__name__
        logger.warning(
            "Training steps cannot be replayed as one CUDA graph (%s): their kernels are launched "
            "one by one, slower.",
            reason,
        )


class _Recording:
    """A recorded step, and the tensors that it reads and writes.

    Args:
        take: the ordinary step of expression and labels.
        optimizer: whose learning rates the step reads.
        value: what the ordinary step gives.
        expression: of a batch; that of every other batch has to be in its place.
        labels: of that batch.
    """

    def __init__(
        self,
        take: Step,
        optimizer: torch.optim.Optimizer,
        value: Tensor,
        expression: Tensor,
        labels: Tensor,
    ) -> None:
        self._take = take
        self._groups = optimizer.param_groups
        self._expression = expression
        self._labels = labels.clone()
        self._value = torch.zeros_like(value)
        self._rates = [group["lr"] for group in self._groups]
        self._held = [torch.tensor(rate, device=value.device) for rate in self._rates]

    def record(self, recorder: Recorder, undo: Callable[[], None]) -> None:
        """Rehearses and records the step; `undo` puts back what the rehearsals changed."""
        for _ in range(REHEARSALS):
            recorder.rehearse(self._work)
        undo()
        with self._held_rates():
            self._replay = recorder.record(self._work)
        undo()

    def _work(self) -> None:
        self._value.copy_(self._take(self._expression, self._labels))

    @contextmanager
    def _held_rates(self) -> Iterator[None]:
        """The optimiser with rates that are read anew by every replay."""
        for group, held in zip(self._groups, self._held, strict=True):
            group["lr"], group["capturable"] = held, True
        try:
            yield
        finally:
            for group, rate in zip(self._groups, self._rates, strict=True):
                group["lr"], group["capturable"] = rate, False

    def takes(self, expression: Tensor, labels: Tensor) -> bool:
        """Whether a batch lies where the recorded one was, and is like it."""
        pairs = (expression, self._expression), (labels, self._labels)
        alike = all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
        return alike and expression.data_ptr() == self._expression.data_ptr()

    def __call__(self, labels: Tensor) -> Tensor:
        """The step of the batch that is in place now; the loss, as `loop.training_step`."""
        self._labels.copy_(labels)
        for number, group in enumerate(self._groups):
            if group["lr"] != self._rates[number]:
                self._rates[number] = group["lr"]
                self._held[number].fill_(group["lr"])
        self._replay()
        return self._value.clone()


@dataclass(frozen=True)
class _Copy:
    """Tensors by name with their values at some time, and the state of the random numbers."""

    tensors: list[tuple[str, Tensor, Tensor]]
    random: Tensor


class _State:
    """What a step changes on the device, and what it must not change on the host."""

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
    ) -> None:
        self.optimizer = optimizer
        self._modules = {"model": model, "loss": loss}
        self._device = device
        self._generator = generator_of(device)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for kind, module in self._modules.items():
            for name, tensor in (*module.named_parameters(), *module.named_buffers()):
                yield f"{name} of the {kind}", tensor
            for name, part in module.named_modules(prefix=kind):
                for attribute, value in vars(part).items():
                    if attribute not in REGISTERED:
                        yield from (
                            (f"{name}.{attribute}", item)
                            for item in _items(value)
                            if isinstance(item, Tensor)
                        )
        for number, state in enumerate(self.optimizer.state.values()):
            for name, value in state.items():
                if isinstance(value, Tensor):
                    yield f"{name} of weight {number} of the optimiser", value

    def copy(self) -> _Copy:
        """All of it now."""
        tensors = [(name, tensor, tensor.detach().clone()) for name, tensor in self._tensors()]
        return _Copy(tensors, self._generator.get_state())

    @torch.no_grad()
    def put_back(self, copy: _Copy) -> None:
        """Makes it as it was; the tensors stay where they are."""
        for _, tensor, value in copy.tensors:
            tensor.copy_(value)
        self._generator.set_state(copy.random)

    def of_host(self) -> dict[str, Any]:
        """Random numbers of the host and attributes of the modules."""
        found: dict[str, Any] = {
            "Python's random numbers": pickle.dumps(random.getstate()),
            "numpy's random numbers": pickle.dumps(np.random.get_state()),
        }
        if self._device.type != "cpu":
            found["torch's random numbers"] = torch.get_rng_state().numpy().tobytes()
        for kind, module in self._modules.items():
            for name, part in module.named_modules(prefix=kind):
                for attribute, value in vars(part).items():
                    found[f"{name}.{attribute}"] = _content(value)
        return found


def _items(value: object) -> list[Any]:
    """What an attribute holds: itself, or the members of a list or a dictionary."""
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return [*value] if isinstance(value, list | tuple | set) else [value]


def _content(value: object) -> list[Any]:
    """What tells that an attribute changed: plain values, and which objects others are."""
    items = _items(value)
    items = [item.tobytes() if isinstance(item, np.ndarray) else item for item in items]
    return [item if isinstance(item, PLAIN) else (id(item), item) for item in items]


def _check_same_host(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Refuses a step that does something else each time.

    Raises:
        ValueError: it changed something on the host.
    """
    changed = [name for name in after if name not in before or before[name] != after[name]]
    if changed:
        raise ValueError(f"a step changes {changed[0]}")


def _check_equal(
    value: Tensor, expected_value: Tensor, found: _Copy, expected: _Copy, before: _Copy
) -> None:
    """Compares the outcomes of a step that was taken both ways.

    Raises:
        ValueError: they differ by more than rounding.
    """
    if not torch.allclose(value, expected_value, rtol=SHARE**2, atol=0):
        raise ValueError("a replayed step gives another loss")
    if not torch.equal(found.random, expected.random):
        raise ValueError("a replayed step draws other random numbers")
    for (name, _, a), (_, _, b), (_, _, old) in zip(
        found.tensors, expected.tensors, before.tensors, strict=True
    ):
        if a.is_floating_point():
            allowed = SHARE * (b - old).norm() + ROUNDING * b.norm()
            equal = bool((a - b).norm() <= allowed)
        else:
            equal = torch.equal(a, b)
        if not equal:
            raise ValueError(f"a replayed step gives another {name}")
