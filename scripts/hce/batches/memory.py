"""How much memory a fit needs, is asked for, and is given.

The same figures serve the rule, which asks a scheduler, and the fit, which decides where its cells
stay; so nothing here loads torch.
"""

from pathlib import Path

# From what needs most memory to what needs least.
RESIDENCIES = ("gpu", "host", "disk")
# For the model, its optimiser, dense batches and what is kept for the backward pass.
GPU_RESERVE = 8 * 2**30
# Beside the cells: dense batches and predictions.
HOST_RESERVE = 2 * 2**30
# What Python, torch, a CUDA context and the Snakemakes of a job may take.
PROCESS_BYTES = 4 * 2**30
# Beside cells that are not held: buffers and dense batches.
STREAMING_BYTES = 4 * 2**30

MEMINFO = Path("/proc/meminfo")
STATUS = Path("/proc/self/status")
GROUPS = Path("/proc/self/cgroup")
CGROUP = Path("/sys/fs/cgroup")


def asked_mb(
    residency: str, size: int, processes: int = 1, nodes: int = 1, attempt: int = 1
) -> int:
    """Memory that the job of a fit asks for.

    What the cells take is known; what else there is is asked for again with each attempt.

    Args:
        residency: the config's training.residency.
        size: bytes of the cells in memory, of all sets of the fit.
        processes: of the fit on one machine; each holds its part of the cells.
        nodes: machines with so many processes each.
        attempt: number of the start, from 1.

    Returns:
        10^6 bytes on each machine.
    """
    cells = 0 if residency in ("gpu", "disk") else -(-size // nodes)
    beside = STREAMING_BYTES if residency in ("gpu", "disk") else HOST_RESERVE
    return -(-(cells + processes * attempt * (beside + PROCESS_BYTES)) // 10**6)


def free_host_memory(given_mb: int | None = None, processes: int = 1) -> int:
    """Bytes that this process may still take: of the machine, and of its job's share of it.

    The share is what the scheduler was asked for, whether it holds a job to it or not, and what a
    control group of version 1 or 2 leaves, which SLURM and containers set. What only caches files
    counts as free.

    Args:
        given_mb: what the job was given on this machine, 10^6 bytes; None: not known.
        processes: of the fit on this machine; each is taken to use as much as this one.
    """
    free = _kilobytes(MEMINFO, "MemAvailable")
    if given_mb is not None:
        free = min(free, given_mb * 10**6 - processes * _kilobytes(STATUS, "VmRSS"))
    for line in GROUPS.read_text(encoding="utf-8").splitlines():
        _, controllers, own = line.split(":", 2)
        if controllers == "":
            free = min([free, *_left(CGROUP, own, "memory.max", "memory.current", "")])
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
            free = min([free, *_left(CGROUP / "memory", own, *names)])
    return free


def _kilobytes(path: Path, name: str) -> int:
    """A line of /proc in bytes."""
    lines = path.read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _left(root: Path, own: str, limit: str, usage: str, prefix: str) -> list[int]:
    """Bytes that a control group and those above it leave, each that has a limit.

    Args:
        root: where the hierarchy is mounted.
        own: the group; in a container it may not be there, and the mounted root is it.
        limit: file with the limit.
        usage: file with what is used.
        prefix: of the names in memory.stat that stand for a group with those below it.
    """
    left = []
    group = root / own.strip("/")
    for folder in (group, *group.parents[: len(group.parts) - len(root.parts)]):
        try:
            bound = int((folder / limit).read_text())
            used = int((folder / usage).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # no such file, or "max": no limit
            continue
        cached = int(stat[f"{prefix}active_file"]) + int(stat[f"{prefix}inactive_file"])
        left.append(bound - used + cached)
    return left


def describe_bytes(n_bytes: int) -> str:
    """For messages."""
    return f"{n_bytes / 1e9:.1f} GB"
