"""A kernel is used only where it runs and gives the numbers that tensor operations give."""

import logging
import subprocess
import sys
import textwrap

import pytest
import torch

from hce.kernels import full_precision, in_times_of_the_largest, trusted

NUMBERS = torch.linspace(0, 9, 50)


def test_equal_numbers_are_trusted_without_a_word(caplog):
    caplog.set_level(logging.WARNING)
    for dtype in (torch.float32, torch.bfloat16):
        numbers = NUMBERS.to(dtype)
        assert trusted("adds", lambda numbers=numbers: (numbers * 1, numbers))
    assert trusted("adds", lambda: (NUMBERS * (1 + 1e-7), NUMBERS))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("wrong", "largest"), [(NUMBERS + 1e-4, "0.0001"), (NUMBERS.where(NUMBERS < 5, 1.0), "8")]
)
def test_other_numbers_are_refused_with_their_difference(wrong, largest, caplog):
    assert not trusted("adds", lambda: (wrong, NUMBERS))
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "kernel that adds cannot be used here (it differs" in record.message
    assert f"by up to {largest}" in record.message


def test_a_number_that_is_not_one_is_refused(caplog):
    assert not trusted("adds", lambda: (NUMBERS * float("nan"), NUMBERS))
    assert "nan" in caplog.text


def test_a_kernel_that_does_not_run_is_refused_with_the_reason(caplog):
    def attempt():
        raise RuntimeError("no C\ncompiler")

    assert not trusted("adds", attempt)
    assert "(RuntimeError: no C compiler): tensor operations do it" in caplog.text


def test_too_little_memory_is_not_the_kernels_fault():
    def attempt():
        raise torch.OutOfMemoryError("CUDA")

    with pytest.raises(torch.OutOfMemoryError):
        trusted("adds", attempt)


def test_sums_are_held_against_the_largest_of_them_and_small_results_against_their_own():
    sums, small = torch.tensor([1e4, 0.0]), torch.tensor([1e-3, 0.0])
    rounded = [sums + 1e-2, small + 1e-9]  # a sum of which little is left is rounded like others
    assert trusted("adds", lambda: in_times_of_the_largest(rounded, [sums, small]))
    assert not trusted("adds", lambda: in_times_of_the_largest([sums, small + 1e-6], [sums, small]))


def test_products_have_full_precision_for_a_while_alone():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    with full_precision():
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_float32_matmul_precision() == "high"
    torch.set_float32_matmul_precision(before)


COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

def compile(function, types, constants, warps):
    names = function.arg_names
    places = {(names.index(name),): value for name, value in constants.items()}
    signature = {name: types.get(name, "constexpr") for name in names}
    for architecture in (75, 90):
        source = ASTSource(function, signature, places)
        target = GPUTarget("cuda", architecture, 32)
        made = triton.compile(source, target=target, options={"num_warps": warps})
        assert made.asm["cubin"]
    print(function.__name__)

from hce.batches import densify_kernel

cells = {"indptr": "*i64", "genes": "*i16", "values": "*i16", "chosen": "*i64", "out": "*bf16"}
cells |= {"shifts": "*i64", "vectors": "*fp32", "n_vectors": "i32"}
fixed = {"GENES": 19331, "APART": 19336, "RAW": True, "SHIFTED": True, "TOTAL": 10000.0, "TOP": 9.0}
fixed |= {name: getattr(densify_kernel, name) for name in ("NONZEROS_AT_ONCE", "GENES_AT_ONCE")}
compile(densify_kernel._write_rows, cells, fixed, densify_kernel.WARPS)

from hce.models import entmax_kernel

fixed = {"WIDTH": 19331, "BLOCK": 32768}
fixed |= {"EPSILON": 1e-15}
forward, backward = fixed | {"STEPS": 32, "CLOSE": 1e-7}, fixed
names = "logits", "shift", "entropy", "out", "result", "gradient", "of_entropy"
pointers = dict.fromkeys(names, "*fp32")
compile(entmax_kernel._forward, pointers, forward, entmax_kernel.WARPS)
compile(entmax_kernel._backward, pointers, backward, entmax_kernel.WARPS)

from hce.models import gated_kernel

fixed = {"LENGTH": 256, "WIDTH": 192, "EPS": 1e-5, "ROWS": 256, "COLUMNS": gated_kernel.TILE // 256}
names = "product", "weight", "bias", "mean", "variance", "gradient", "of_weight", "of_bias", "out"
pointers = dict.fromkeys(names, "*fp32")
compile(gated_kernel._forward, pointers, fixed, gated_kernel.WARPS)
compile(gated_kernel._backward, pointers, fixed, gated_kernel.WARPS)

from hce.models import mask_kernel

fixed = {"APART": 19336, "GENES": 19331, "WIDTH": 19336}
fixed |= {name: getattr(mask_kernel, name) for name in ("COLUMNS", "CELLS")}
names = "values", "scale", "shift", "of_scale", "of_shift"
pointers = dict.fromkeys(names, "*fp32") | {"n_cells": "i32"}
for dtype in ("*fp32", "*bf16"):
    types = pointers | {"expression": dtype, "gradient": dtype}
    compile(mask_kernel._forward, types | {"out": dtype}, fixed, mask_kernel.WARPS)
    compile(mask_kernel._backward, types | {"out": "*fp32"}, fixed, mask_kernel.WARPS)
"""


def test_the_kernels_compile_for_the_oldest_cards_and_for_new_ones(repository, tmp_path):
    """Compiled for real, which needs no card; the interpreter takes more than the compiler does."""
    pytest.importorskip("triton", reason="Triton is not installed")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(COMPILED)],
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(repository / "scripts"),
            "TRITON_CACHE_DIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["_write_rows", *("_forward", "_backward") * 4]
