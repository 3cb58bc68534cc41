"""Provenance of a run: code, software, machines, inputs, and the time and memory of its jobs."""

import importlib.metadata
import json
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from hce import __version__
from hce.batches.placement import PLACED
from hce.files import sha256_of
from hce.jobs.job import ASKED, MACHINE
from hce.report.markdown import NOTHING, markdown_table

# Listed in provenance.md; provenance.json has every installed package.
NAMED_PACKAGES = (
    *("torch", "lightning-fabric", "numpy", "scipy", "pandas", "pyarrow", "numba", "statsmodels"),
    *("networkx", "obonet", "tiledbsoma", "cellxgene-census", "anndata", "matplotlib"),
    *("snakemake", "snakemake-executor-plugin-slurm"),
)
HEADINGS = {
    "seconds": "wall, s",
    "cpu_seconds": "CPU, s",
    "memory_mb": "memory, MB",
    "asked_mb": "requested, MB",
    "asked_minutes": "requested, min",
    "minutes": "longest, min",
    "asked_cores": "cores requested",
    "cores": "cores used",
}
NUMBERS = ("bytes", "cells", "jobs", *HEADINGS)
ONE_DECIMAL = ("minutes", "cores")
ASKED_COLUMNS = ["asked_mb", "asked_minutes", "asked_cores"]
JOB_COLUMNS = [
    *("stage", "rule", "job", "seconds", "cpu_seconds", "memory_mb"),
    *ASKED_COLUMNS,
    *("machine", "residency"),
]
USE_COLUMNS = [
    *("rule", "jobs", "asked_mb", "memory_mb", "asked_minutes", "minutes"),
    *("asked_cores", "cores"),
]


def describe_code(folder: Path) -> dict[str, Any]:
    """The version of the pipeline: version, commit, changed (files that differ) and problem.

    Args:
        folder: a folder of the checkout.

    Returns:
        If the folder is not a git checkout, `commit` is None and `problem` says why.
    """
    found: dict[str, Any] = {"version": __version__, "commit": None, "changed": [], "problem": ""}
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain")
    except FileNotFoundError:
        return found | {"problem": "git is not installed"}
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [f"git ended with {error.returncode}"]
        return found | {"problem": said[0]}
    return found | {"commit": commit.strip(), "changed": changed.splitlines()}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def describe_software() -> dict[str, Any]:
    """Python, system, how torch was built, and the version of every installed package."""
    packages = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()}
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "torch": {
            "version": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        },
        "packages": {name: packages[name] for name in sorted(packages, key=str.lower)},
    }


def read_jobs(folders: Iterable[str | Path], stages: Mapping[str, str]) -> pd.DataFrame:
    """Reads time and memory of the jobs from the benchmark files that Snakemake wrote.

    Args:
        folders: <data> and <results>; files have the same names in `benchmarks` and `logs`.
        stages: rule → its stage, for all rules.

    Returns:
        Columns `JOB_COLUMNS`, one row per job: wall time and CPU time in seconds, peak resident
        memory in 10^6 bytes, and from the log the requested memory (10^6 bytes), minutes and cores,
        the machine, and where a fit kept its cells. For a job that was restarted, the last start.
    """
    rows = []
    for folder in map(Path, folders):
        for path in sorted((folder / "benchmarks").rglob("*.jsonl")):
            name = path.relative_to(folder / "benchmarks").with_suffix("")
            rule = _rule_of(str(name), stages)
            lines = path.read_text(encoding="utf-8").splitlines()
            if rule is None or not lines:
                continue  # the rule no longer exists, or the file is cut off
            measured = json.loads(lines[-1])
            log = _read(folder / "logs" / f"{name}.log")
            asked = json.loads(_of_line(log, ASKED) or "{}")
            rows.append(
                {
                    "stage": stages[rule],
                    "rule": rule,
                    "job": str(name).removeprefix(rule).lstrip("_/"),
                    "seconds": _number(measured["s"]),
                    "cpu_seconds": _number(measured["cpu_time"]),
                    "memory_mb": _number(measured["max_rss"]) * 1.048576,
                    **{column: _number(asked.get(column)) for column in ASKED_COLUMNS},
                    "machine": _of_line(log, MACHINE),
                    "residency": _residency(log),
                }
            )
    return pd.DataFrame(rows, columns=JOB_COLUMNS)


def _rule_of(name: str, rules: Iterable[str]) -> str | None:
    fitting = [rule for rule in rules if re.match(rf"{re.escape(rule)}(?:[_/]|$)", name)]
    return max(fitting, key=len, default=None)


def _number(value: float | str | None) -> float:
    """A measured number; very short jobs have none."""
    return float(value) if isinstance(value, int | float) else float("nan")


def _read(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""


def _of_line(log: str, begin: str) -> str:
    """The rest of the log line that begins with these words."""
    found = re.search(rf": {begin}(.*)", log)
    return found.group(1) if found else ""


def _residency(log: str) -> str:
    """Where a fit kept its cells; the last line counts, after a look at the run's other fits."""
    return (re.findall(rf": {PLACED}(\w+)", log) or [""])[-1]


def sum_by_stage(jobs: pd.DataFrame, stages: Mapping[str, str]) -> pd.DataFrame:
    """One row per stage: stage, jobs, seconds and cpu_seconds (sums), memory_mb (largest)."""
    order = list(dict.fromkeys(stages.values()))
    sums = jobs.groupby("stage").agg(
        jobs=("rule", "size"),
        seconds=("seconds", "sum"),
        cpu_seconds=("cpu_seconds", lambda seconds: seconds.sum(min_count=1)),
        memory_mb=("memory_mb", "max"),
    )
    return sums.reindex([stage for stage in order if stage in sums.index]).reset_index()


def compare_use(jobs: pd.DataFrame) -> pd.DataFrame:
    """Compares the resources that the jobs of a rule requested with those that they used.

    Returns:
        One row per rule: rule, jobs; requested memory and largest peak, in 10^6 bytes; requested
        minutes and those of the longest job; requested cores and CPU time divided by wall time.
    """
    of_rule = jobs.groupby("rule", sort=False)
    use = of_rule.agg(
        jobs=("rule", "size"),
        asked_mb=("asked_mb", "max"),
        memory_mb=("memory_mb", "max"),
        asked_minutes=("asked_minutes", "max"),
        minutes=("seconds", "max"),
        asked_cores=("asked_cores", "max"),
    )
    use["minutes"] /= 60
    use["cores"] = of_rule["cpu_seconds"].sum(min_count=1) / of_rule["seconds"].sum()
    return use.reset_index()


def describe_store(folder: str | Path) -> dict[str, Any]:
    """Set, cells and values of a store, and the checksum of its manifest."""
    path = Path(folder) / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    known = {"cells": manifest["cells"], "values": manifest["values"]}
    return {"set": path.parent.name, **known, "sha256": sha256_of(path)}


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table for JSON: None for missing values, one decimal."""
    return json.loads(table.round(1).to_json(orient="records"))


def in_words(record: Mapping[str, Any]) -> str:
    """The main parts of a record, as Markdown.

    Args:
        record: run, note, code, software, releases, inputs, stores, jobs, stages, use; see the
            rule's script. Tables are lists of objects.
    """
    parts = [
        f"# Provenance of the run {record['run']}",
        f"**{record['note']}.**" if record["note"] else "",
        "`provenance.json` has the whole record, with the config and every installed package.",
        "## Code",
        _code(record["code"]),
        "## Software",
        _software(record["software"]),
        "## Releases",
        _releases(record["releases"]),
        "## Inputs",
        _columns(record["inputs"], ["input", "file", "bytes", "sha256"]),
        "## Stores",
        "Checksums of the manifests, which have the checksums of all shards.",
        _columns(record["stores"], ["set", "cells", "values", "sha256"]),
        "## Time and memory",
        "Wall time and CPU time are sums over the jobs of a stage, which may run in parallel; "
        "memory is the largest of any job. For a job that was restarted, the last start counts.",
        _columns(record["stages"], ["stage", "jobs", "seconds", "cpu_seconds", "memory_mb"]),
        "### The longest jobs",
        _columns(
            sorted(record["jobs"], key=lambda job: -(job["seconds"] or 0))[:10],
            ["rule", "job", "seconds", "cpu_seconds", "memory_mb"],
        ),
        "### Requested and used",
        "What a rule requests, and the most that one of its jobs used; a profile's `set-resources` "
        "changes the request. Memory and cores are sampled, so jobs of one or two seconds are "
        "measured poorly, and for a fit of several tasks only the process that starts them is "
        "measured. Without a scheduler, nothing was reserved.",
        _columns(record["use"], USE_COLUMNS),
        "## Machines",
        _machines(record["jobs"]),
        _residencies(record["jobs"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _code(code: Mapping[str, Any]) -> str:
    if code["commit"] is None:
        return f"hce {code['version']}; the commit is not known: {code['problem']}."
    changed = f" with {len(code['changed'])} changed files" if code["changed"] else ""
    return f"hce {code['version']}, commit `{code['commit']}`{changed}."


def _software(software: Mapping[str, Any]) -> str:
    torch_build = software["torch"]
    cuda = f"CUDA {torch_build['cuda']}" if torch_build["cuda"] else "without CUDA"
    rows = [["Python", software["python"]], ["system", software["system"]]]
    for name in NAMED_PACKAGES:
        version = software["packages"].get(name, "not installed")
        rows.append([name, f"{torch_build['version']}, {cuda}" if name == "torch" else version])
    return markdown_table(["software", "version"], rows)


def _releases(releases: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            release["release"],
            str(release["summary"].get("census_build_date", NOTHING)),
            str(release["summary"].get("census_schema_version", NOTHING)),
            f"{release['cells']['all']:,}",
            str(release["uri"]),
        ]
        for release in releases
    ]
    return markdown_table(["release", "built", "schema", "human cells", "read from"], rows)


def _columns(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    def text(value: Any, decimals: int) -> str:
        if value is None or value == "":
            return NOTHING
        return f"{value:,.{decimals}f}" if isinstance(value, int | float) else str(value)

    lines = [[text(row[name], 1 if name in ONE_DECIMAL else 0) for name in columns] for row in rows]
    right = [HEADINGS.get(name, name) for name in NUMBERS]
    return markdown_table([HEADINGS.get(name, name) for name in columns], lines, right)


def _machines(jobs: Sequence[Mapping[str, Any]]) -> str:
    used: dict[str, list[str]] = {}
    for job in jobs:
        used.setdefault(job["machine"] or "not recorded", []).append(job["stage"])
    rows = [[name, ", ".join(dict.fromkeys(s)), str(len(s))] for name, s in used.items()]
    return markdown_table(["machine", "stages", "jobs"], rows, right=["jobs"])


def _residencies(jobs: Sequence[Mapping[str, Any]]) -> str:
    """Where the cells of the fits were: streamed ones come in another order."""
    fits: dict[str, list[str]] = {}
    for job in jobs:
        if job["residency"]:
            fits.setdefault(job["residency"], []).append(job["job"])
    if not fits:
        return ""
    rows = [[place, str(len(names)), ", ".join(names)] for place, names in fits.items()]
    table = markdown_table(["residency", "jobs", "fits"], rows, right=["jobs"])
    return (
        "## Where the cells were during training\n\n"
        "On the GPU and in host memory each epoch is one shuffle of all cells; from disk, cells "
        f"are shuffled among neighbours.\n\n{table}"
    )
