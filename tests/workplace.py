"""Running the whole workflow in a folder of its own."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
import yaml
from filelock import FileLock
from snakemake.utils import update_config

# The demo with everything smaller: 164 types still, but few genes, cells and epochs.
SMALL = {
    "data": {"simulation": {"genes": 300, "studies": 20, "new_studies": 3, "depth": 200}},
    "curation": {"min_cells": 20, "min_donors": 3},
    "split": {"multiple_of": 64},
    "export": {"shards": 2},
    "decoders": ["argmax", "ancestor_sum", "prior_corrected", "back_off_0.6"],
    "fits": {"models": ["linear"], "seeds": [0, 1], "also": []},
    "figures": {"model": "linear"},
    "statistics": {"alpha": 0.1},
    "training": {"max_epochs": 2},
}

# The PBMC studies for a few epochs and one seed.
SHORT = {
    "fits": {"seeds": [0]},
    "training": {"max_epochs": 10},
    "annotate": {
        "manifest": "annotate.tsv",
        "probability": 0.85,
        "panels": {"variable": "panel.txt"},
    },
}


@dataclass
class Workplace:
    """A folder with the pipeline in it and results of its own."""

    folder: Path

    def command(self, *arguments: str, config: dict | None = None, base: str = "demo") -> list[str]:
        """Snakemake with a shipped override, the smaller settings and further changes."""
        files = [f"config/{base}.yaml"]
        # In files of this command alone: tests that run side by side plan in the same workplace.
        overrides = Path(tempfile.mkdtemp(prefix="config-", dir=self.folder))
        for name, override in (("small", SMALL if base == "demo" else {}), ("extra", config or {})):
            path = overrides / f"{name}.yaml"
            path.write_text(yaml.safe_dump(override))
            files.append(str(path.relative_to(self.folder)))
        return [sys.executable, "-m", "snakemake", *arguments, "--configfile", *files]

    def snakemake(self, *arguments: str, config: dict | None = None, base: str = "demo"):
        """Runs `command` on two cores of this machine."""
        return subprocess.run(
            self.command(*arguments, "--cores", "2", config=config, base=base),
            cwd=self.folder,
            capture_output=True,
            text=True,
        )

    def planned(self, config: dict, *arguments: str) -> dict[str, int]:
        """Rules that a change of the config would run, with the number of jobs of each."""
        done = self.snakemake(*arguments, "--dry-run", "--quiet", "reason", config=config)
        assert done.returncode == 0, done.stderr
        counts = jobs_of_each_rule(done.stdout + done.stderr)
        return {rule: jobs for rule, jobs in counts.items() if rule not in ("all", "total")}

    def copy(self, folder: Path) -> "Workplace":
        """A workplace with the same data and results, as fresh to Snakemake as these."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Workplace(folder)


def jobs_of_each_rule(said: str) -> dict[str, int]:
    """Rule → jobs, with `total`, in what a dry run said; nothing where nothing is to be done."""
    stats = re.search(r"Job stats:\n(.*?)\n\n", said, re.S)
    if stats is None:
        assert "Nothing to be done" in said
        return {}
    rows = [line.split() for line in stats.group(1).splitlines()[2:]]
    return {rule: int(count) for rule, count in rows}


def lay_out(folder: Path, repository: Path) -> Workplace:
    """Puts the pipeline of the repository into a new folder, without data and results."""
    resources = folder / "resources"
    resources.mkdir(parents=True)
    for name in ("Snakefile", "workflow", "scripts", "config", "slurm-gpu"):
        (folder / name).symlink_to(repository / name)
    for path in (repository / "resources").iterdir():
        if path.name not in ("atlas", "genes"):
            (resources / path.name).symlink_to(path)
    return Workplace(folder)


def link_files(source: Path, folder: Path) -> None:
    """Replaces a link to a folder by a folder of links, to which files can be added."""
    folder.unlink()
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).symlink_to(path)


def variable_genes(path: Path, number: int = 300) -> list[str]:
    """Symbols of the genes whose normalised counts vary most."""
    cells = ad.read_h5ad(path)
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    variance = cells.X.power(2).mean(axis=0) - np.square(cells.X.mean(axis=0))
    return cells.var["feature_name"].iloc[np.argsort(-variance.A1)[:number]].tolist()


def once(basetemp: Path, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that is made by the first of the test processes that needs it."""
    shared = basetemp.parent if "PYTEST_XDIST_WORKER" in os.environ else basetemp
    folder, done = shared / name, shared / f"{name}.done"
    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def new_workplace(repository, tmp_path_factory):
    """Makes workplaces."""
    return lambda: lay_out(tmp_path_factory.mktemp("workplace") / "place", repository)


@pytest.fixture(scope="session")
def finished_pbmc(repository, real_data, tmp_path_factory):
    """A workplace in which four real studies have run, for a few epochs and one seed.

    One of the new ones is also annotated as a user's own file. `config/pbmc.yaml` says all this.
    """

    def make(folder: Path) -> None:
        place = lay_out(folder, repository)
        for name in ("config", "resources/pbmc"):
            link_files(repository / name, folder / name)
        h5ads = folder / "resources/pbmc/h5ad"
        h5ads.unlink(missing_ok=True)
        h5ads.symlink_to(real_data / "pbmc")
        (folder / "annotate.tsv").write_text(
            f"name\tfile\tvote\nmine\t{h5ads / 'pbmc4k.h5ad'}\tauthor_cell_type\n"
        )
        (folder / "panel.txt").write_text("\n".join(variable_genes(h5ads / "zheng2017.h5ad")))
        config = yaml.safe_load((repository / "config/pbmc.yaml").read_text())
        update_config(config, SHORT)
        (folder / "config/pbmc.yaml").unlink()
        (folder / "config/pbmc.yaml").write_text(yaml.safe_dump(config))
        done = place.snakemake(base="pbmc")
        assert done.returncode == 0, done.stderr[-5000:]

    return Workplace(once(tmp_path_factory.getbasetemp(), "finished_pbmc", make))


@pytest.fixture(scope="session")
def finished(repository, tmp_path_factory):
    """A workplace in which the small demo has run; tests only look and plan in it."""

    def make(folder: Path) -> None:
        # The scripts that Snakemake has made of the rules' are kept for the fuzz script.
        done = lay_out(folder, repository).snakemake("--skip-script-cleanup")
        assert done.returncode == 0, done.stderr[-5000:]

    return Workplace(once(tmp_path_factory.getbasetemp(), "finished", make))
