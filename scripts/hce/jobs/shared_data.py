"""Data that several runs and users share: who builds them now, and whether they are finished."""

import atexit
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hce import checksums
from hce.errors import UserError
from hce.files import atomic_path, create_once
from hce.jobs.process import Process

# In <data>: who builds there, while somebody does; and what it holds, once all of it is there.
BUILDING = "building.json"
READY = "ready.json"
# Keys of the config that say how data are made.
MAKING = ("vocabulary", "curation", "split", "augmentation", "audit")
VECTORS = "augmentation/vectors.npy"
# The paper's counts while stores are built: exported, and again as stores and their buckets, about
# 45 GB each; what else there is, and predictions of 24 fits.
PAPER_DISK = 120e9
# The same of a further release: at most 21 million new cells of 1,500 counts, twice.
FURTHER_DISK = 70e9


def claim_data(folder: str | Path, run_id: str | None) -> None:
    """Keeps other runs, also of other clones, from building in a folder while this process lives.

    Args:
        folder: <data.dir>/<data.name>.
        run_id: name of this run's SLURM jobs, which may outlive it; None: it has none.

    Raises:
        UserError: somebody else builds there; says who.
    """
    path = Path(folder) / BUILDING
    content = json.dumps({"process": asdict(Process.own()), "run_id": run_id}) + "\n"
    if not create_once(path, content):
        holder, jobs = _holder(path)
        if holder.lives() is not False or jobs:
            still = f", whose SLURM jobs {' '.join(jobs)} are in the queue" if jobs else ""
            raise UserError(
                f"{folder} is being built by {holder}{still}: wait until it is finished, take "
                f"another data.name, or delete {path} if that run is dead."
            )
        path.unlink(missing_ok=True)
        if not create_once(path, content):
            claim_data(folder, run_id)  # another run was quicker
            return
    atexit.register(_release, path, os.getpid())


def _release(path: Path, pid: int) -> None:
    if os.getpid() == pid:  # and not a process that was forked from it
        path.unlink(missing_ok=True)


def _holder(path: Path) -> tuple[Process, list[str]]:
    """Who builds, and the SLURM jobs that it has in the queue."""
    try:
        known = json.loads(path.read_text())
        holder, run_id = Process(**known["process"]), known["run_id"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not say who builds there ({error}): delete it if nobody does."
        ) from error
    if run_id is None or shutil.which("squeue") is None:
        return holder, []
    command = ["squeue", "--noheader", f"--name={run_id}", "--format=%A"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return holder, done.stdout.split()


def describe_data(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the data of a configuration are made of: equal ones can share a folder."""
    data = config["data"]
    kept = {key: data[key] for key in ("source", "new_since", "genes_sha256", "min_genes")}
    if data["genes_sha256"] is None:
        kept["genes"] = data["genes"]
    if data["source"] == "simulation":
        kept["simulation"] = data["simulation"]
    if data["source"] == "h5ad":
        kept["new_study"] = data["h5ad"]["new_study"]
    return {
        "data": kept,
        "releases": [entry["release"] for entry in (data["reference"], *data["new"])],
        "ontology": {key: config["ontology"][key] for key in ("release", "sha256")},
        **{key: config[key] for key in MAKING},
    }


def write_ready(folder: str | Path, config: Mapping[str, Any], path: str | Path) -> int:
    """Writes down what a finished folder holds; returns the number of its files.

    Args:
        folder: <data.dir>/<data.name>.
        config: of the run that made it.
        path: the file, `READY` in the folder.

    Raises:
        UserError: a file is not as it was written.
    """
    folder = Path(folder)
    made = [file for file in folder.rglob("*") if file.is_file()]
    inside = [str(file.relative_to(folder)) for file in made]
    # What says how it was made, and what is temporary, may go.
    kept = [
        (name, file.stat().st_size)
        for name, file in sorted(zip(inside, made, strict=True))
        if not name.startswith(("logs/", "benchmarks/", "export/", "sctab/", "."))
        and name not in (BUILDING, READY)
        and "/soma/" not in name
    ]
    for name, _ in kept:
        checksums.verify(folder / name)
    with atomic_path(path) as temporary:
        ready = {"config": describe_data(config), "files": dict(kept)}
        temporary.write_text(json.dumps(ready, indent=1) + "\n")
    return len(kept)


def check_ready(folder: str | Path, config: Mapping[str, Any]) -> None:
    """Checks that a folder holds the finished data of a configuration.

    Raises:
        UserError: it was not finished, a file has gone or changed its size, or it was made with
            other settings or for models that are not augmented; names the file or key.
    """
    folder = Path(folder)
    try:
        ready = json.loads((folder / READY).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"data.ready is true, but {folder} has no {READY} that can be read ({error}): its own "
            "run has not ended, or data.dir or data.name is another one."
        ) from error
    wanted = json.loads(json.dumps(describe_data(config)))
    for key, value in wanted.items():
        if ready["config"].get(key) != value:
            raise UserError(
                f"data.ready is true, but {folder} was made with another {key} "
                f"({ready['config'].get(key)}, not {value}): set it to that, or make data of your "
                "own under another data.dir."
            )
    for name in config["fits"]["models"]:
        if config["models"][name]["augmentation"] and VECTORS not in ready["files"]:
            raise UserError(
                f"data.ready is true, but {folder} was made without {VECTORS}, with which the "
                f"model {name} is trained: ask whose data they are to run `make data` with {name} "
                "in fits.models."
            )
    for name, size in ready["files"].items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != size:
            raise UserError(
                f"data.ready is true, but {file} is missing or has changed since {READY} was "
                "written: ask whose data they are to run again, which builds it anew."
            )
