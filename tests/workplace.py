"""Running the whole workflow in a folder of its own."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

# The demo with everything smaller: 164 types still, but few genes, cells and epochs.
SMALL = {
    "data": {"simulation": {"genes": 300, "studies": 20, "new_studies": 3, "depth": 200}},
    "curation": {"min_cells": 20, "min_donors": 3},
    "split": {"multiple_of": 64},
    "export": {"shards": 2},
    "decoders": ["argmax", "ancestor_sum", "prior_corrected", "back_off_0.6"],
    "fits": {"models": ["linear"], "seeds": [0, 1]},
    "controls": {"matched_epochs": True},
    "figures": {"model": "linear"},
    "statistics": {"alpha": 0.1},
    "training": {"max_epochs": 2},
}


@dataclass
class Workplace:
    """A folder with the pipeline in it and results of its own."""

    folder: Path

    def command(self, *arguments: str, config: dict | None = None, base: str = "demo") -> list[str]:
        """Snakemake with a shipped override, the smaller settings and further changes."""
        files = [f"config/{base}.yaml"]
        for name, override in (("small", SMALL if base == "demo" else {}), ("extra", config or {})):
            path = self.folder / f"{name}.yaml"
            path.write_text(yaml.safe_dump(override))
            files.append(path.name)
        return [sys.executable, "-m", "snakemake", *arguments, "--configfile", *files]

    def snakemake(self, *arguments: str, config: dict | None = None, base: str = "demo"):
        """Runs `command` on two cores of this machine."""
        return subprocess.run(
            self.command(*arguments, "--cores", "2", config=config, base=base),
            cwd=self.folder,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )

    def planned(self, config: dict) -> dict[str, int]:
        """Rules that a change of the config would run, with the number of jobs of each."""
        done = self.snakemake("--dry-run", "--quiet", "reason", config=config)
        assert done.returncode == 0, done.stderr
        stats = re.search(r"Job stats:\n(.*?)\n\n", done.stdout + done.stderr, re.S)
        if stats is None:
            assert "Nothing to be done" in done.stdout + done.stderr
            return {}
        rows = [line.split() for line in stats.group(1).splitlines()[2:]]
        return {rule: int(count) for rule, count in rows if rule not in ("all", "total")}

    def copy(self, folder: Path) -> "Workplace":
        """A workplace with the same data and results, as fresh to Snakemake as these."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Workplace(folder)


@pytest.fixture(scope="session")
def new_workplace(repository, tmp_path_factory):
    """Makes workplaces."""

    def make() -> Workplace:
        folder = tmp_path_factory.mktemp("workplace")
        for name in ("Snakefile", "workflow", "scripts", "config", "slurm-gpu"):
            (folder / name).symlink_to(repository / name)
        resources = folder / "resources"
        resources.mkdir()
        for path in (repository / "resources").iterdir():
            if path.name not in ("atlas", "genes"):
                (resources / path.name).symlink_to(path)
        return Workplace(folder)

    return make


@pytest.fixture(scope="session")
def finished(new_workplace):
    """A workplace in which the small demo has run."""
    place = new_workplace()
    done = place.snakemake()
    assert done.returncode == 0, done.stderr[-5000:]
    return place
