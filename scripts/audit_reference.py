"""Counts the reference release's cells that are there more than once (rule audit_reference)."""

from typing import Any

from hce.files import read_parquet, write_tsv
from hce.jobs.job import job
from hce.leakage.audit import AUDITED_COLUMNS, audit_reference
from hce.leakage.duplicates import identical_cells
from hce.store.cell_store import CellStore

snakemake: Any

with job(snakemake) as log:
    stores = [CellStore.open(path) for path in snakemake.input.stores]
    comparable = all(store.manifest["values"] == "counts" for store in stores)
    table = audit_reference(
        read_parquet(snakemake.input.cells, columns=AUDITED_COLUMNS),
        identical_cells(stores) if comparable else None,
    )
    for row in table.itertuples():
        log.info("%s: %g", row.quantity, row.value)
    table.insert(0, "release", snakemake.params.release)
    table.insert(1, "set", "reference")
    write_tsv(table, snakemake.output[0])
