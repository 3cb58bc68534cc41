"""A SLURM for the tests, and Snakemakes that run on it."""

import os
import signal
import subprocess

import pytest
from on_slurm import CANNOT, HERE, Cluster, Run

from workplace import Workplace


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A SLURM of this session; stopped at its end."""
    folder = tmp_path_factory.mktemp("slurm")
    path = f"{folder}/bin:{os.environ['PATH']}"
    env = os.environ | {
        "SLURM_CONF": f"{folder}/slurm.conf",
        "PATH": path,
        # for faulty_models
        "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    cluster = Cluster(folder, env)
    started = cluster.try_to("start")
    if started.returncode == CANNOT:
        pytest.skip(f"no SLURM can be started: {started.stderr.strip().splitlines()[-1]}")
    assert started.returncode == 0, started.stderr
    yield cluster
    cluster.control("stop")


@pytest.fixture(scope="session")
def submit(cluster, tmp_path_factory):
    """Starts Snakemakes with the profile; those that still run at the end are killed."""
    runs = []

    def start(place: Workplace, *arguments: str, config: dict | None = None) -> Run:
        command = place.command("--profile", "slurm-gpu", *arguments, config=config)
        # The cluster is idle: ask sooner than the profile does.
        command += ["--slurm-init-seconds-before-status-checks", "1"]
        log = tmp_path_factory.mktemp("run") / "output.txt"
        with log.open("w") as handle:
            process = subprocess.Popen(
                command,
                cwd=place.folder,
                env=cluster.env,
                stdout=handle,
                stderr=handle,
                # Tests in the background of a shell ignore Ctrl-C, and so would their children.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        runs.append(Run(cluster, place, log, process))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()
