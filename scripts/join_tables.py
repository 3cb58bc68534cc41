"""Joins tables of one kind, one below the other (rules that are called gather_…)."""

from typing import Any

import pandas as pd

from hce.files import read_tsv, write_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    for name, path in snakemake.output.items():
        parts = [read_tsv(part) for part in snakemake.input[name]]
        parts = parts or [pd.DataFrame(columns=["release", "set"])]  # no newer release
        write_tsv(pd.concat(parts, ignore_index=True), path)
        log.info("%s: %d parts", path, len(parts))
