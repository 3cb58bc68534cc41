"""The whole loader from disk beside annbatch's: read, decode, shuffle, cut into batches.

Both have the same cells in a store that is shuffled on disk, read them in random order with 16,384
cells in memory at a time (what annbatch preloads by default), and hand out what annbatch hands
out: batches of 2,048 cells as scipy's compressed rows, counts as float32. annbatch writes its
collection with its own settings and reads through the zarrs codecs. Each has one core, and the CPU
time of a whole epoch is compared: the files are in the page cache, and other programs on the
machine do not disturb CPU time as they do the clock.
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import scipy.sparse as sp
from bench_store import CELLS, GENES, bytes_of_counts, simulated_counts, write
from harness import Result, SkippedError

from hce.batches.on_disk import StreamedBatches

PACKAGES = ["annbatch==0.3.1", "zarrs==0.2.3"]
ENVIRONMENT = Path(__file__).parents[2] / "results" / "benchmarks" / "annbatch-env"
BATCH = 2_048
CHUNK, CHUNKS = 512, 32
EPOCHS = 7


def annbatch_python() -> Path:
    """Interpreter of an environment with annbatch, made at the first call.

    Raises:
        SkippedError: there is no Python ≥ 3.12, or the packages cannot be installed.
    """
    python = ENVIRONMENT / "bin" / "python"
    if python.is_file():
        return python
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [str(path) for path in sorted(pyenv.glob("3.12*/bin/python3.12"), reverse=True)]
    if on_path := shutil.which("python3.12"):
        found.append(on_path)
    for interpreter in found:
        # A shim of pyenv may be there without the interpreter.
        if subprocess.run([interpreter, "--version"], capture_output=True).returncode == 0:
            break
    else:
        raise SkippedError("annbatch needs Python 3.12, which is not here")
    partial = ENVIRONMENT.with_name(f"{ENVIRONMENT.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    # Without pip's scripts an environment may be moved; only its interpreter is used.
    subprocess.run([interpreter, "-m", "venv", str(partial)], check=True)
    command = [str(partial / "bin" / "python"), "-m", "pip", "install", "--quiet", *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        shutil.rmtree(partial)
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SkippedError(f"annbatch cannot be installed: {reason}")
    partial.rename(ENVIRONMENT)
    return python


def epoch(batches: StreamedBatches, seed: int) -> tuple[int, float]:
    """Cells and CPU seconds of one epoch in sparse batches of float32."""
    start = time.process_time()
    cells = 0
    for positions, counts in batches.sparse(np.random.default_rng(seed)):
        values, genes = counts.values.astype(np.float32), counts.genes.astype(np.int32)
        matrix = sp.csr_matrix((values, genes, counts.indptr), shape=(len(counts), GENES))
        labels = batches.labels[positions]
        cells += matrix.shape[0]
        assert len(labels) == matrix.shape[0]
    return cells, time.process_time() - start


def dense_epoch(batches: StreamedBatches, seed: int) -> tuple[int, float]:
    """Cells and CPU seconds of one epoch as the training takes it: dense and normalised."""
    start = time.process_time()
    cells = sum(len(labels) for _, labels in batches.shuffled(np.random.default_rng(seed)))
    return cells, time.process_time() - start


def run() -> list[Result]:
    """Cells a CPU second and bytes a cell, with annbatch's as peer."""
    python = annbatch_python()
    counts = simulated_counts(CELLS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "cells.npz", n_genes=GENES, **vars(counts))
        peer = subprocess.Popen(
            [python, Path(__file__).with_name("annbatch_peer.py"), folder / "cells.npz", folder]
            + [str(number) for number in (BATCH, CHUNK, CHUNKS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert peer.stdin is not None
        assert peer.stdout is not None
        try:
            word, size = peer.stdout.readline().split()
            assert word == "size"
            (folder / "store").mkdir()
            store = write(folder / "store", counts)
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            labels = np.arange(len(store)) % 164
            batches = StreamedBatches(store, labels, BATCH, buffer_cells=CHUNK * CHUNKS)
            speeds: dict[str, list[float]] = {"hce": [], "annbatch": []}
            for seed in range(EPOCHS + 1):
                cells, seconds = epoch(batches, seed)
                print(seed, file=peer.stdin, flush=True)
                answer = peer.stdout.readline().split()
                assert answer[3] in ("float32/int32", "float32/int64")
                if seed:  # the first compiles and fills caches
                    speeds["hce"].append(cells / seconds)
                    speeds["annbatch"].append(int(answer[1]) / float(answer[2]))
            dense = [
                cells / seconds for cells, seconds in (dense_epoch(batches, s) for s in (0, 1))
            ]
        finally:
            peer.stdin.close()
            peer.wait()
        ours = bytes_of_counts(store)
    return [
        Result(
            "streaming: sparse batches from disk",
            median(speeds["hce"]),
            "cells/CPU s",
            "annbatch 0.3.1",
            median(speeds["annbatch"]),
            target=1.5,
            direction=">=",
        ),
        Result(
            "streaming: size of the counts",
            ours / CELLS,
            "bytes/cell",
            "annbatch 0.3.1",
            int(size) / CELLS,
            target=0.5,
        ),
        Result("streaming: dense normalised batches from disk", max(dense), "cells/CPU s"),
    ]
