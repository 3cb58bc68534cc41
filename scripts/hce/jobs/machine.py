"""The machine that a job runs on, in words."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

# A GPU that does not answer must not hold up a job.
PATIENCE = 10


def describe_machine() -> str:
    """Processor, cores that this process may use, memory and GPUs, as one line."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    gpus = ", ".join(_gpus()) or "no GPU"
    return f"{_processor()}, {cores} of {os.cpu_count()} cores, {memory:.0f} GB, {gpus}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """Names of the NVIDIA GPUs; none where the driver is missing or does not answer."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []
