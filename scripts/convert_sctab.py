"""Makes a cell store of one set of the published scTab store (rule convert_sctab)."""

from pathlib import Path
from typing import Any

from hce.files import read_parquet
from hce.jobs.job import job
from hce.sources.sctab import open_archive, write_set

snakemake: Any

with job(snakemake) as log:
    name, archive = snakemake.wildcards.set, open_archive(snakemake.input.archive)
    cells = read_parquet(snakemake.input.cells, filters=[("set", "==", name)])
    store = write_set(
        archive,
        name,
        cells,
        snakemake.output[0],
        {
            "release": snakemake.params.release,
            "set": name,
            "source": f"published scTab store {Path(snakemake.params.archive).name}",
        },
        snakemake.threads,
    )
    log.info("%d cells in %d shards", len(store), len(store.manifest["shards"]))
