"""Writes where the results of a run come from, and what they took (rule write_provenance)."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

import hce
from hce.files import atomic_path, read_tsv, sha256_of
from hce.job import job
from hce.provenance import describe_code, describe_software, in_words, read_jobs, sum_by_stage

snakemake: Any


def rows(table: Any) -> list[dict]:
    """The rows of a table, for JSON."""
    return json.loads(table.round(1).to_json(orient="records"))


def store(folder: str) -> dict:
    """What the manifest of a store says, with its checksum."""
    path = Path(folder) / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: manifest[key] for key in ("cells", "values")}
    return {"set": path.parent.name, **kept, "sha256": sha256_of(path)}


with job(snakemake) as log:
    stages = snakemake.params.stages
    data, results = Path(snakemake.input.checksums).parent, Path(snakemake.output.json).parent
    jobs = read_jobs([data, results], stages)
    record = {
        "run": snakemake.params.run,
        "note": snakemake.params.note,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": describe_code(Path(hce.__file__).resolve().parent),
        "software": describe_software(),
        "config": yaml.safe_load(Path(snakemake.input.config).read_text(encoding="utf-8")),
        "releases": [json.loads(Path(p).read_text()) for p in snakemake.input.releases],
        "inputs": rows(read_tsv(snakemake.input.checksums)),
        "stores": [store(folder) for folder in snakemake.input.stores],
        "stages": rows(sum_by_stage(jobs, stages)),
        "jobs": rows(jobs),
    }
    with atomic_path(snakemake.output.json) as temporary:
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    with atomic_path(snakemake.output.words) as temporary:
        temporary.write_text(in_words(record), encoding="utf-8")
    log.info("%d jobs recorded", len(jobs))
