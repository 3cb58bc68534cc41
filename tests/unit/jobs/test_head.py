"""Snakemake itself as a job of a cluster (head.sh)."""

import os
import signal
import subprocess
import sys
import time

import pytest

SNAKEMAKE = f"""#!{sys.executable}
import pathlib, sys, time
print(*sys.argv[1:], flush=True)
try:
    pathlib.Path("started").touch()
    time.sleep(600 if "wait" in sys.argv else 0)
except KeyboardInterrupt:
    time.sleep(0.5)  # as long as its jobs are cancelled
    print("cancelled its jobs", flush=True)
    sys.exit(1)
sys.exit(3)
"""


@pytest.fixture
def start(repository, tmp_path):
    """Starts the script in a folder whose Snakemake only says what it was asked for."""
    command = tmp_path / ".venv/bin/snakemake"
    command.parent.mkdir(parents=True)
    command.write_text(SNAKEMAKE)
    command.chmod(0o755)
    script = repository / "workflow/profiles/slurm-gpu/head.sh"
    env = os.environ | {"SLURM_SUBMIT_DIR": str(tmp_path)}
    return lambda *arguments: subprocess.Popen(
        ["bash", script, *arguments],
        cwd="/",
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        # Tests in the background of a shell ignore Ctrl-C, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_snakemake_is_asked_for_what_stands_behind_the_script(start):
    head = start("--configfile", "config/my settings.yaml")
    assert head.communicate(timeout=300)[0] == (
        "--profile slurm-gpu --configfile config/my settings.yaml\n"
    )
    assert head.returncode == 3


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_when_its_time_is_up_snakemake_cancels_its_jobs(start, tmp_path, told):
    head = start("wait")
    while not (tmp_path / "started").exists():
        time.sleep(0.05)
    head.send_signal(told)
    assert "cancelled its jobs" in head.communicate(timeout=300)[0]
    assert head.returncode == 1
