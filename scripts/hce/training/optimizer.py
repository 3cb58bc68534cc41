"""AdamW without torch's compiler."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def _plain(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of torch's optimisers without the wrapper that shields it from the compiler."""
    return method.__wrapped__  # type: ignore[attr-defined]


class AdamW(torch.optim.AdamW):
    """torch's AdamW in one pass over the weights.

    The wrappers that are left out import `torch._dynamo` at the first step, which costs three
    seconds of every fit and does nothing for a model that is not compiled.
    """

    zero_grad = _plain(torch.optim.Optimizer.zero_grad)
    add_param_group = _plain(torch.optim.Optimizer.add_param_group)
    state_dict = _plain(torch.optim.Optimizer.state_dict)
    step = torch.no_grad()(_plain(torch.optim.Adam.step))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over a state, and lays its tensors out in memory as the weights are."""
        _plain(torch.optim.Optimizer.load_state_dict)(self, state_dict)
        for weight, state in self.state.items():
            for name, value in state.items():
                if value.shape == weight.shape:
                    state[name] = torch.empty_like(weight).copy_(value)

    def _init_group(self, group: dict[str, Any], *tensors: list[Tensor]) -> bool:
        """Lists the tensors of a step; a matrix that is laid out column by column is transposed.

        torch would copy its gradient to rows and back.
        """
        is_complex: bool = super()._init_group(group, *tensors)
        weights, gradients, *averages, _ = tensors
        for number, weight in enumerate(weights):
            if weight.ndim == 2 and weight.mT.is_contiguous():
                for each in (weights, gradients, *averages):
                    if each:  # the last of the averages is only there with amsgrad
                        each[number] = each[number].mT
        return is_complex


def build_optimizer(model: nn.Module, lr: float, weight_decay: float) -> AdamW:
    """AdamW of a model's weights."""
    return AdamW(model.parameters(), lr=lr, weight_decay=weight_decay, fused=True)
