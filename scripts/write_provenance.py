"""Writes where the results of a run come from, and what they took (rule write_provenance)."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from hce.files import atomic_path, read_tsv
from hce.jobs.job import job
from hce.report.file_hashes import hash_files
from hce.report.provenance import (
    compare_use,
    describe_code,
    describe_software,
    describe_store,
    in_words,
    read_jobs,
    records,
    sum_by_stage,
)

snakemake: Any


with job(snakemake) as log:
    stages = snakemake.params.stages
    data, results = Path(snakemake.input.checksums).parent, Path(snakemake.output.json).parent
    models, checkpoints = snakemake.input.models, snakemake.input.checkpoints
    jobs = read_jobs([data, results], stages)
    record = {
        "run": snakemake.params.run,
        "note": snakemake.params.note,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        # Not where hce was imported from: in a container that is a mount of this folder alone.
        "code": describe_code(Path(snakemake.scriptdir)),
        "software": describe_software(),
        "config": yaml.safe_load(Path(snakemake.input.config).read_text(encoding="utf-8")),
        "releases": [json.loads(Path(p).read_text()) for p in snakemake.input.releases],
        "inputs": records(read_tsv(snakemake.input.checksums)),
        "stores": [describe_store(folder) for folder in snakemake.input.stores],
        "models": records(hash_files({"model": models, "published checkpoint": checkpoints})),
        "stages": records(sum_by_stage(jobs, stages)),
        "use": records(compare_use(jobs)),
        "jobs": records(jobs),
    }
    with atomic_path(snakemake.output.json) as temporary:
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    with atomic_path(snakemake.output.words) as temporary:
        temporary.write_text(in_words(record), encoding="utf-8")
    log.info("%d jobs recorded", len(jobs))
