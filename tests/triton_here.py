"""Triton for the tests of kernels: compiled where there is a GPU, otherwise its interpreter.

Imported before anything imports Triton, which reads the variable then.
"""

import os

import pytest
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

if DEVICE.type == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip(
    "triton", reason="Triton is not installed (pip install --no-deps -r envs/triton.txt)"
)
