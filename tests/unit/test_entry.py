"""The commands of .venv start also where a module system has set up the shell."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def entry(repository, tmp_path):
    """Starts a command of an environment that is this one under another name."""
    (tmp_path / "bin").mkdir()
    for name in ("snakemake", "hce"):
        shutil.copy(repository / "envs/entry.sh", tmp_path / "bin" / name)
    (tmp_path / "bin/python").symlink_to(sys.executable)
    (tmp_path / "lib").symlink_to(Path(sys.prefix) / "lib")
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", tmp_path)

    def run(command: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        call = [tmp_path / "bin" / command, *arguments]
        return subprocess.run(call, env=os.environ | env, capture_output=True, text=True)

    return run


@pytest.fixture
def foreign(tmp_path):
    """Packages of another Python: importing them fails."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    for name in ("yaml", "numpy", "snakemake", "hce"):
        (folder / f"{name}.py").write_text("raise ImportError('a foreign package')")
    return folder


def test_a_foreign_pythonpath_is_what_breaks_a_python(foreign):
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--version"],
        env=os.environ | {"PYTHONPATH": str(foreign)},
        capture_output=True,
    )
    assert done.returncode != 0


@pytest.mark.parametrize(("command", "argument"), [("snakemake", "--version"), ("hce", "--help")])
def test_foreign_packages_are_not_imported(entry, foreign, command, argument):
    done = entry(command, argument, PYTHONPATH=str(foreign), PYTHONHOME="/nowhere")
    assert done.returncode == 0, done.stderr
    assert done.stdout


def seen_by_python(entry, tmp_path, needs: bool) -> str:
    """LD_LIBRARY_PATH as a Python sees it that finds its library by it, or does not."""
    python = tmp_path / "bin/python"
    python.unlink()
    fails = '[ -n "$LD_LIBRARY_PATH" ] || exit 127\n' if needs else ""
    python.write_text(f'#!/bin/sh\n{fails}echo "$LD_LIBRARY_PATH"\n')
    python.chmod(0o755)
    return entry("snakemake", LD_LIBRARY_PATH="/foreign/libraries").stdout.strip()


def test_foreign_libraries_are_not_loaded(entry, tmp_path):
    assert seen_by_python(entry, tmp_path, needs=False) == ""


def test_a_python_that_is_found_by_its_library_path_keeps_it(entry, tmp_path):
    assert seen_by_python(entry, tmp_path, needs=True) == "/foreign/libraries"
