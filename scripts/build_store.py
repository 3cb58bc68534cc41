"""Assembles the store of one set from the exported counts (rule build_store)."""

import json
from pathlib import Path
from typing import Any

from hce.files import read_parquet
from hce.jobs.job import job
from hce.store.cell_store import write_store

snakemake: Any

with job(snakemake) as log:
    release = json.loads(Path(snakemake.input.description).read_text(encoding="utf-8"))
    cells = read_parquet(snakemake.input.cells)
    cells = cells[cells["set"] == snakemake.wildcards.set].reset_index(drop=True)
    store = write_store(
        snakemake.output[0],
        snakemake.input.counts,
        cells,
        read_parquet(snakemake.input.genes),
        {
            "release": release["release"],
            "set": snakemake.wildcards.set,
            "uri": release["uri"],
            **release["summary"],
        },
    )
    log.info("%d cells in %d shards", len(store), len(store.manifest["shards"]))
