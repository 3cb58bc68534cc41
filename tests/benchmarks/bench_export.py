"""Reading counts out of a Census, beside `cellxgene_census.get_anndata`.

On a local store of 100,000 simulated cells × 19,331 genes, about 1,500 of them non-zero in a cell,
in ten studies with the tiling of the Census builder. It is written once, to results/benchmarks.
Every measurement is a process of its own, so that its largest memory is its own; both sides take
turns, three times, and medians count. Writing what was read is timed apart, since the peer writes
nothing.

A filter (assays, primary cells, types) leaves cells scattered over the release; here a fifth, drawn
at random, which is harder than what a real filter leaves. The peer is asked for them in ascending
batches, as a patient user would, and in random batches, as a training loop would. The export always
reads in stored order; shuffling is left to the store. In ascending batches the peer, too, unpacks
each tile little more than once, so that the target is lower there.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import scipy.sparse as sp
from harness import Result

from hce.census.counts import CountsReader
from hce.census.release import open_release
from hce.sources.soma import HUMAN, Study, write_census
from hce.store.shards import write_shard

FOLDER = Path(__file__).parents[2] / "results" / "benchmarks"
BUILD = "2023-05-15"
CELLS, FEW, STUDIES, GENES, NON_ZERO = 100_000, 10_000, 10, 19_331, 1_500
REPEATS = 3
# Cells a call of the peer; a training loop's batches are those of the paper.
BATCH = {"contiguous": 4096, "scattered": 4096, "random": 2048}
LIMIT_GIB = 2.0


def simulated_cells(n: int, seed: int) -> sp.csr_matrix:
    """Counts of simulated cells, csr (n, genes); genes and cells differ in depth."""
    rng = np.random.default_rng(seed)
    common = rng.permutation(rng.beta(0.3, 2.1, GENES))
    seen = (common * NON_ZERO / common.sum()).clip(max=0.97).astype(np.float32)
    depth = rng.lognormal(-0.08, 0.4, n).astype(np.float32)
    genes = [np.flatnonzero(rng.random(GENES, dtype=np.float32) < seen * d) for d in depth]
    indptr = np.concatenate([[0], np.cumsum([len(own) for own in genes])])
    counts = rng.geometric(0.5, indptr[-1]).astype(np.float32)
    return sp.csr_matrix((counts, np.concatenate(genes).astype(np.int32), indptr), (n, GENES))


def census() -> Path:
    """The release, written at the first call."""
    path = FOLDER / f"census-{CELLS}x{GENES}"
    if path.is_dir():
        return path
    size = CELLS // STUDIES
    block = simulated_cells(size, 0)
    names = [f"G{i}" for i in range(GENES)]
    genes = pd.DataFrame({"feature_id": names, "feature_name": names, "feature_length": 1000})
    obs = pd.DataFrame({"assay": ["10x 3' v3"] * size, "donor_id": "simulated"})
    studies = (
        # The same cells in another order: drawing new ones would take minutes.
        Study(f"s{i}", f"Simulated {i}", "c", "Simulated", "", obs, block[_shuffled(size, i)])
        for i in range(STUDIES)
    )
    write_census(path, BUILD, studies, {HUMAN: genes})
    return path


def _shuffled(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(n)


def scattered() -> np.ndarray:
    """A fifth of the cells, ascending."""
    return np.sort(_shuffled(CELLS, 0)[: CELLS // 5])


def measure(what: str, path: str) -> dict[str, float]:
    """Cells a second, seconds and GiB of one measurement; runs in a process of its own."""
    import resource

    side, _, cells = what.partition(" ")
    chosen = {
        "contiguous": np.arange(CELLS),
        "few": np.arange(FEW),
        "scattered": scattered(),
        "random": _shuffled(CELLS, 1)[: CELLS // 5],
    }[cells]
    with open_release(BUILD, path) as release:
        if side == "peer":
            read, seconds = _peer(release, chosen, cells)
        else:
            reader = CountsReader(release, np.arange(GENES))
            list(reader.blocks(chosen[:10]))  # compiled, or read from numba's cache
            start = time.perf_counter()
            blocks = reader.blocks(chosen)
            if side == "export":
                target = Path(path).parent / f"export-{cells}.arrow"
                read = write_shard(target, blocks)
                target.unlink()
            else:
                read = sum(len(ids) for ids, _ in blocks)
            seconds = time.perf_counter() - start
    # Linux counts in KiB.
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"speed": read / seconds, "seconds": seconds, "memory": memory}


def _peer(release: object, chosen: np.ndarray, cells: str) -> tuple[int, float]:
    """Cells read by get_anndata, and seconds; a sample of the batches where all take minutes."""
    import warnings

    import cellxgene_census

    warnings.simplefilter("ignore")  # anndata tells how it names cells
    batches = np.split(chosen, range(BATCH[cells], len(chosen), BATCH[cells]))
    batches = batches[: {"contiguous": 8, "scattered": len(batches), "random": 2}[cells]]
    start = time.perf_counter()
    for batch in batches:
        coordinates = slice(int(batch[0]), int(batch[-1])) if cells == "contiguous" else batch
        cellxgene_census.get_anndata(
            release.root,  # type: ignore[attr-defined]
            "homo_sapiens",
            obs_coords=coordinates,
            obs_column_names=["soma_joinid"],
        )
    return sum(map(len, batches)), time.perf_counter() - start


def run() -> list[Result]:
    """Cells a second of both sides, largest memory, and what ten times the cells cost."""
    path = census()
    names = ["ours contiguous", "ours scattered", "export contiguous", "export few"]
    names += ["peer contiguous", "peer scattered", "peer random"]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for turn in range(REPEATS):
        for name in names[turn:] + names[:turn]:
            command = [sys.executable, __file__, name, str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))

    def of(name: str, key: str) -> float:
        return median(values[key] for values in found[name])

    pairs = [
        ("contiguous cells", "contiguous", "contiguous", "in contiguous batches", 3.0),
        ("scattered fifth", "scattered", "random", "in random batches", 10.0),
        ("scattered fifth", "scattered", "scattered", "in ascending batches", 2.5),
    ]
    results = [
        Result(
            benchmark=f"export: {what}",
            value=of(f"ours {ours}", "speed"),
            unit="cells/s",
            peer=f"get_anndata {how}",
            peer_value=of(f"peer {peer}", "speed"),
            target=target,
            direction=">=",
        )
        for what, ours, peer, how, target in pairs
    ]
    largest = max(value["memory"] for name in names[:4] for value in found[name])
    return [
        *results,
        Result("export: largest memory", largest, "GiB", target=LIMIT_GIB),
        Result(
            "export: seconds with writing, 100,000 cells",
            of("export contiguous", "seconds"),
            *("s", "10,000 cells", of("export few", "seconds")),
            target=11.0,
        ),
        Result(
            "export: memory, 100,000 cells",
            of("export contiguous", "memory"),
            *("GiB", "10,000 cells", of("export few", "memory")),
            target=1.2,
        ),
    ]


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
