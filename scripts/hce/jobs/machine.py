"""The machine that a job runs on, in words."""

import ctypes
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa

# A GPU that does not answer must not hold up a job.
PATIENCE = 10
# Tells the processes of a job how many cores it has.
CORES_VARIABLE = "HCE_CORES"
# Parameters of mallopt(3), by their numbers in glibc's malloc.h: how many bytes are kept free
# (M_TRIM_THRESHOLD) and taken at a time (M_TOP_PAD), and how large a block must be to be taken from
# the system, and returned to it, by itself (M_MMAP_THRESHOLD).
_MALLOPT = {-1: 2**30, -2: 2**26, -3: 2**25}


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


def take_cores(threads: int) -> None:
    """Holds libraries to the cores of the job, where they would take all of the machine.

    Snakemake tells OpenMP and NumPy's products, this tells Arrow, `prepare_device` torch, and
    `census.release` TileDB. What numba compiles here has one thread.

    Args:
        threads: cores of the job.
    """
    os.environ[CORES_VARIABLE] = str(threads)
    pa.set_cpu_count(threads)
    pa.set_io_thread_count(threads)


def own_cores() -> int:
    """Cores that this process may use: those of its job, or what the system gives it."""
    return int(os.environ.get(CORES_VARIABLE) or len(os.sched_getaffinity(0)))


def reuse_memory() -> None:
    """Has freed memory used again by this process, where glibc would return it to the system.

    For loops that take and free many megabytes: new pages from the system cost a tenth of the time
    of reading counts or of a training step. Other C libraries than glibc are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and platform.libc_ver()[0] == "glibc":
        for parameter, value in _MALLOPT.items():
            mallopt(parameter, value)


def cache_folders(library: Path, folder: Path) -> dict[str, str]:
    """Places for compiled code, where the usual ones cannot be written.

    Args:
        library: folder of the modules that numba compiles, beside which it would write.
        folder: that can be written.

    Returns:
        Variables of the environment to set.
    """
    home = Path(os.environ.get("HOME") or "/nowhere")
    found = {}
    if not os.access(library, os.W_OK) and "NUMBA_CACHE_DIR" not in os.environ:
        found["NUMBA_CACHE_DIR"] = str(folder / "numba")
    if not os.access(home, os.W_OK):
        for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
            if name not in os.environ:
                found[name] = str(folder / name.partition("_")[0].lower())
    return found
