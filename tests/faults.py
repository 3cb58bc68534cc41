"""What disks, networks and hands do to a file."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def flip(path: Path, rng: np.random.Generator) -> None:
    """Changes one bit of a file."""
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


def truncate(path: Path, rng: np.random.Generator) -> None:
    """Cuts a file off anywhere."""
    os.truncate(path, rng.integers(path.stat().st_size))


def swap(path: Path, rng: np.random.Generator, others: Sequence[Path]) -> None:
    """Puts another file of the same kind in a file's place; where there is none, an empty one."""
    content = others[rng.integers(len(others))].read_bytes() if others else b""
    path.write_bytes(content)


def age(path: Path, rng: np.random.Generator, others: Sequence[Path]) -> None:
    """Puts what stood in a file a year ago in its place, with the time of then."""
    swap(path, rng, others)
    year_ago = path.stat().st_mtime - 365 * 86400
    os.utime(path, (year_ago, year_ago))


# Fault → (file, random numbers, other files of the kind); changes the file.
FAULTS = {
    "flipped bit": lambda path, rng, others: flip(path, rng),
    "truncation": lambda path, rng, others: truncate(path, rng),
    "swap": swap,
    "older version": age,
}


def many_flips(path: Path, times: int = 50, seed: int = 0):
    """Yields after each of many changes of one bit, each of the whole file; restores it."""
    whole = path.read_bytes()
    rng = np.random.default_rng(seed)
    for _ in range(times):
        path.write_bytes(whole)
        flip(path, rng)
        yield
    path.write_bytes(whole)
