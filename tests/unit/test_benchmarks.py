"""The harness of the benchmarks: what `make bench` reports."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
GOOD = """
from harness import Result
def run():
    return [Result("good: a", 10.0, "ms", "peer", 20.0, 1.05), Result("good: b", 3.0, "s")]
"""
SKIPPED = """
from harness import SkippedError
def run():
    raise SkippedError("no GPU")
"""
BROKEN = "def run():\n    raise ValueError('broken on purpose')\n"


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("harness"), importlib.import_module("run")
    for name in [name for name in sys.modules if name.startswith(("harness", "run", "gpu_"))]:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def run_on(modules, tmp_path, monkeypatch):
    """Runs the harness on a folder of small benchmarks; exit status and table."""
    run = modules[1]

    def call(**scripts):
        for name, text in scripts.items():
            (tmp_path / f"bench_{name}.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(run, "names", lambda: sorted(scripts))
        monkeypatch.setattr(run, "TABLE", tmp_path / "benchmarks.tsv")
        monkeypatch.setattr(run, "FOLDER", tmp_path / "x" / "y")
        status = run.main([])
        return status, pd.read_csv(tmp_path / "benchmarks.tsv", sep="\t").set_index("benchmark")

    return call


def test_every_benchmark_is_explained_in_the_readme():
    names = {path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py")}
    rows = re.findall(r"^\| `(\w+)` \|.*\|.*\|$", (FOLDER / "README.md").read_text(), re.M)
    assert names <= set(rows)


def test_the_table_has_the_columns_that_readers_rely_on(run_on):
    status, table = run_on(good=GOOD)
    assert status == 0
    columns = ["value", "unit", "peer", "peer_value", "ratio", "target", "met"]
    assert list(table.columns) == columns
    assert table.loc["good: a", "ratio"] == 0.5
    assert table.loc["good: a", ["target", "met"]].tolist() == ["<= 1.05", "yes"]
    assert table.loc["good: b", ["ratio", "target", "met"]].isna().all()


def test_a_benchmark_that_cannot_run_here_is_listed_with_its_reason(run_on):
    status, table = run_on(skipped=SKIPPED)
    assert status == 0
    assert table.loc["skipped", "met"] == "skipped: no GPU"


def test_a_broken_benchmark_fails_the_run_and_the_others_are_kept(run_on, capsys):
    status, table = run_on(broken=BROKEN, good=GOOD)
    assert status == 1
    assert list(table.index) == ["good: a", "good: b"]
    assert "broken on purpose" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "peer_value", "target", "direction", "met"),
    [
        (105.0, 100.0, 1.05, "<=", True),
        (106.0, 100.0, 1.05, "<=", False),
        (300.0, 100.0, 3.0, ">=", True),
        (299.0, 100.0, 3.0, ">=", False),
        (5.0, None, 6.0, "<=", True),
        (7.0, None, 6.0, "<=", False),
        (7.0, None, None, "<=", None),
    ],
)
def test_a_target_is_met_by_the_ratio_or_without_a_peer_by_the_value(
    modules, value, peer_value, target, direction, met
):
    result = modules[0].Result("x", value, "s", "peer", peer_value, target, direction)
    assert result.met is met


def test_calls_take_turns_so_that_none_is_always_first(modules):
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    medians = modules[0].interleaved_medians(calls, warm_up=2, repeats=3)
    assert order[:6] == list("aabbcc")
    assert order[6:] == list("abcbcacab")
    assert set(medians) == set("abc")
    assert all(seconds >= 0 for seconds in medians.values())


@pytest.mark.slow
def test_the_check_of_a_gpu_runs_to_its_end_at_small_size_without_one(tmp_path):
    table = tmp_path / "gpu.tsv"
    columns = ["card", "date", "commit", "what", "value", "unit", "target", "met"]
    before = [["another card", *["kept"] * 7], ["none (CPU)", *["replaced"] * 7]]
    pd.DataFrame(before, columns=columns).to_csv(table, sep="\t", index=False)
    size = ["--cells", "224", "--genes", "100", "--batch-size", "32"]
    command = [sys.executable, str(FOLDER / "gpu_check.py"), "--device", "cpu", *size]
    own = sorted(os.sched_getaffinity(0))[:1]
    done = subprocess.run(
        [*command, "--tests", "--output", str(table)],
        preexec_fn=lambda: os.sched_setaffinity(0, own),  # threads would wait for each other
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(table, sep="\t")
    assert list(rows.columns) == columns
    assert rows["card"].value_counts()["another card"] == 1
    assert "replaced" not in set(rows["what"])
    rows = rows[rows["card"] == "none (CPU)"].set_index("what")
    for model in ("linear", "mlp", "tabnet"):
        for where in ("tf32, gpu", "bf16, gpu", "tf32, host", "tf32, disk"):
            assert float(rows.loc[f"training: {model}, hce, {where}", "value"]) > 0
        assert float(rows.loc[f"validation: {model}", "value"]) > 0
        assert float(rows.loc[f"prediction, 4 decoders, from disk: {model}", "value"]) > 0
    equal = rows[rows.index.str.startswith("equality")]
    assert len(equal) == 20
    assert set(equal["met"]) == {"yes"}  # a CPU is equal to itself
    assert rows.loc["training: linear, hce, tf32, gpu", "target"] == ">= 3e+06"
    for what in ("loading to host, 1 cores", "batches alone, host", "ceiling: product, tf32"):
        assert float(rows.loc[what, "value"]) > 0
    assert not rows.index.str.startswith("failed").any()


def test_what_fails_in_the_check_of_a_gpu_is_a_row_after_those_before_it(modules):
    bench, made = importlib.import_module("gpu_bench"), modules[0].Result("a", 1.0, "s")

    def rows():
        yield made
        raise ValueError("the card is\nnot there")

    first, second = bench.attempted("copies", rows())
    assert first == made
    assert second.benchmark == "failed: copies"
    assert (second.unit, second.met) == ("ValueError: the card is not there", False)


def test_a_part_of_the_check_that_hangs_or_dies_is_ended_and_the_row_says_so(modules, monkeypatch):
    check = importlib.import_module("gpu_check")
    hangs = [sys.executable, "-c", "import time; time.sleep(60)"]
    dies = [sys.executable, "-c", "import os; os.abort()"]
    assert check.Clock().run(hangs, 0.5) == "it did not end within 0 s"
    assert check.Clock().run(dies, 20) == "its process ended with -6"
    monkeypatch.setattr(check, "ALL", 0)
    assert check.Clock().run(dies, 20) == "no time was left of 0 s"
