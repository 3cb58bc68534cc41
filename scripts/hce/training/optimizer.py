"""AdamW without torch's compiler."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


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
    load_state_dict = _plain(torch.optim.Optimizer.load_state_dict)
    step = torch.no_grad()(_plain(torch.optim.Adam.step))


def build_optimizer(model: nn.Module, lr: float, weight_decay: float) -> AdamW:
    """AdamW of a model's weights."""
    return AdamW(model.parameters(), lr=lr, weight_decay=weight_decay, fused=True)
