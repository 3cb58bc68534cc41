"""Puts the tables on the back-off of all calibrated fits together (rule gather_coverage)."""

from typing import Any

import pandas as pd

from hce.files import read_tsv, write_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    for name, path in snakemake.output.items():
        parts = [read_tsv(part) for part in snakemake.input[name]]
        table = pd.concat(parts, ignore_index=True)
        write_tsv(table, path)
        log.info("%s: %d rows", path, len(table))
