"""`hce annotate` on 100,000 cells of 19,331 genes: seconds and memory of the whole command.

The command runs in a process of its own, on two cores: start, reading, the model, and the copy
of the file with its new columns. CellTypist, where it is installed, does the same with a linear
model of random weights, on fewer cells because it needs them all in memory, dense.
"""

import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from anndata.io import write_elem
from bench_store import GENES, simulated_counts
from harness import Result

from hce.annotate.annotator import Annotator, save_annotator
from hce.annotate.novelty import Novelty
from hce.losses import build_loss
from hce.models import build_model
from hce.models.trained_model import TrainedModel

CELLS = 100_000
DISTINCT = 5_000  # simulated once and repeated
TYPES = 164
CORES = 2
PEER_CELLS = 10_000
ARGUMENTS = {
    "linear": {},
    "mlp": {"hidden_size": 128, "n_hidden": 8, "dropout": 0.1},
}


def write_cells(path: Path, cells: int = CELLS) -> None:
    """An h5ad of so many cells, written as anndata does by default."""
    counts = simulated_counts(DISTINCT)
    repeats = cells // DISTINCT
    size = int(counts.indptr[-1])
    names = pd.DataFrame(index=pd.Index([f"G{i}" for i in range(GENES)]))
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        write_elem(file, "obs", pd.DataFrame(index=pd.Index([f"c{i}" for i in range(cells)])))
        write_elem(file, "var", names)
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        group.attrs["shape"] = np.array([cells, GENES])
        indptr = [counts.indptr[:-1] + i * size for i in range(repeats)]
        group["indptr"] = np.concatenate([*indptr, [repeats * size]])
        for name, values, dtype in (
            ("indices", counts.genes, np.int32),
            ("data", counts.values, np.float32),
        ):
            dataset = group.create_dataset(name, (repeats * size,), dtype)
            for i in range(repeats):
                dataset[i * size : (i + 1) * size] = values


def write_model(path: Path, name: str) -> None:
    """A model file with random weights."""
    genes = [f"G{i}" for i in range(GENES)]
    types = pd.DataFrame(
        {
            "cl_id": [f"CL:{i:07d}" for i in range(TYPES)],
            "label": [f"type {i}" for i in range(TYPES)],
        }
    )
    reachability = np.eye(TYPES, dtype=bool)
    spec = {"class": name, "arguments": ARGUMENTS[name]}
    trained = TrainedModel(
        build_model(name, GENES, TYPES, **ARGUMENTS[name]),
        build_loss("hce", torch.from_numpy(reachability), torch.ones(TYPES)),
        pd.DataFrame({"feature_id": genes, "feature_name": genes}),
        types,
        reachability,
        {"model": spec, "loss": {"class": "hce", "arguments": {}}},
    )
    calibrated = pd.DataFrame({"asked": [0.9], "threshold": [0.5]})
    shares = np.random.default_rng(0).dirichlet(np.ones(GENES), TYPES).clip(1e-7)
    novelty = Novelty(np.log(shares).astype(np.float32), 10.0, 100)
    save_annotator(path, Annotator(trained, calibrated, pd.DataFrame(), novelty=novelty))


OURS = """
import resource, sys
from hce.cli import main
status = main(sys.argv[1:])
print("kB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(status)
"""
CELLTYPIST = """
import resource, sys
import anndata, celltypist, numpy, scanpy
from celltypist.models import Model
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
cells = anndata.read_h5ad(sys.argv[1])
scanpy.pp.normalize_total(cells, target_sum=1e4)
scanpy.pp.log1p(cells)
genes, types = cells.n_vars, int(sys.argv[3])
model = LogisticRegression()
model.classes_ = numpy.array([f"type {i}" for i in range(types)])
model.coef_ = numpy.random.default_rng(0).normal(size=(types, genes)) / 100
model.intercept_ = numpy.zeros(types)
model.features, model.n_features_in_ = cells.var_names.to_numpy(), genes
scaler = StandardScaler()
scaler.mean_, scaler.scale_, scaler.n_features_in_ = numpy.zeros(genes), numpy.ones(genes), genes
celltypist.annotate(cells, Model(model, scaler, {})).to_adata().write_h5ad(sys.argv[2])
print("kB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def annotate(folder: Path, name: str) -> tuple[float, float]:
    """Seconds and GB of one `hce annotate`."""
    arguments = ["annotate", str(folder / "cells.h5ad"), "--model", str(folder / f"{name}.hce")]
    arguments += ["--out", str(folder / "out.h5ad"), "--device", "cpu"]
    return command(OURS, arguments)


def command(script: str, arguments: list[str]) -> tuple[float, float]:
    """Seconds and GB of a script in a process of its own on `CORES` cores."""
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    seconds = time.perf_counter() - start
    return seconds, int(done.stdout.split()[-1]) / 1e6


def run() -> list[Result]:
    """Seconds and memory with the linear model and the MLP."""
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cells(folder / "cells.h5ad")
        for model in ARGUMENTS:
            write_model(folder / f"{model}.hce", model)
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            seconds, memory = annotate(folder, model)
            user = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
            what = f"annotate: {model}, {CELLS:,} cells on {CORES} cores"
            results.append(Result(what, seconds, "s", target=60))
            results.append(Result(f"{what}, processor", user, "CPU s"))
            results.append(Result(f"{what}, memory", memory, "GB", target=2))
        if importlib.util.find_spec("celltypist") is None:
            print("(no CellTypist here to compare with)", end=" ")
            return results
        write_cells(folder / "cells.h5ad", PEER_CELLS)
        seconds, _ = annotate(folder, "linear")
        arguments = [str(folder / "cells.h5ad"), str(folder / "peer.h5ad"), str(TYPES)]
        peer, _ = command(CELLTYPIST, arguments)
        what = f"annotate: linear, {PEER_CELLS:,} cells on {CORES} cores"
        results.append(Result(what, seconds, "s", "CellTypist", peer, target=1))
    return results
