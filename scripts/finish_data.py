"""Checks the stores and writes down that the data are finished (rule finish_data)."""

from pathlib import Path
from typing import Any

from hce.jobs.job import job
from hce.jobs.shared_data import write_ready
from hce.store.cell_store import CellStore

snakemake: Any

with job(snakemake) as log:
    for folder in snakemake.input.stores:
        CellStore.open(folder).verify()
    files = write_ready(Path(snakemake.output[0]).parent, snakemake.config, snakemake.output[0])
    log.info("%d files", files)
