"""The optimiser takes torch's steps, and a fit does not wait for torch's compiler."""

import copy
import subprocess
import sys

import torch

from hce.training.optimizer import AdamW, build_optimizer


def trained(make):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5))
    optimizer = make(model)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.9)
    for step in range(10):
        optimizer.zero_grad()
        model(
            torch.randn(8, 6, generator=torch.Generator().manual_seed(step))
        ).square().sum().backward()
        optimizer.step()
        schedule.step()
    return model.state_dict(), optimizer.state_dict()


def test_steps_and_state_are_those_of_torch():
    ours = trained(lambda model: build_optimizer(model, 0.1, 0.05))
    torchs = trained(
        lambda model: torch.optim.AdamW(model.parameters(), 0.1, weight_decay=0.05, fused=True)
    )
    for name, value in torchs[0].items():
        assert torch.equal(ours[0][name], value), name
    assert ours[1]["param_groups"] == torchs[1]["param_groups"]
    for number, state in torchs[1]["state"].items():
        for name, value in state.items():
            assert torch.equal(ours[1]["state"][number][name], value), name


def test_a_state_is_taken_over_from_torch():
    _, state = trained(lambda model: build_optimizer(model, 0.1, 0.05))
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5))
    optimizer = build_optimizer(model, 0.1, 0.05)
    optimizer.load_state_dict(state)
    assert torch.equal(optimizer.state_dict()["state"][0]["exp_avg"], state["state"][0]["exp_avg"])


def steps(weight, state=None):
    """Weight and state after some steps."""
    weight = torch.nn.Parameter(weight)
    optimizer = AdamW([weight], lr=0.1, weight_decay=0.05, fused=True)
    if state is not None:
        optimizer.load_state_dict(copy.deepcopy(state))
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        gradient = torch.randn(weight.shape, generator=generator)
        weight.grad = torch.empty_like(weight).copy_(gradient)
        optimizer.step()
    return weight.detach(), optimizer.state_dict()


def test_steps_are_the_same_however_weights_and_state_are_laid_out_in_memory():
    by_row = torch.randn(16, 8)  # no elements are left over from vector instructions
    by_column = by_row.mT.contiguous().mT
    expected, state = steps(by_row.clone())
    found, other_state = steps(by_column.clone())
    assert torch.equal(found, expected)
    assert found.stride() == other_state["state"][0]["exp_avg"].stride() == (1, 16)
    further, _ = steps(by_row.clone(), state)
    for layout in (state, other_state):
        assert torch.equal(steps(by_column.clone(), layout)[0], further)
        assert torch.equal(steps(by_row.clone(), layout)[0], further)


def test_steps_import_no_compiler():
    script = """
import sys, torch
from hce.training.optimizer import build_optimizer
model = torch.nn.Linear(2, 2)
optimizer = build_optimizer(model, 0.1, 0.0)
torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)
optimizer.zero_grad()
model(torch.ones(1, 2)).sum().backward()
torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
