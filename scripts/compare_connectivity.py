"""Compares gains of types with and without their relatives (rule compare_connectivity)."""

from typing import Any

import pandas as pd

from hce.evaluation.connectivity import connectivity
from hce.files import read_tsv, write_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    per_type = pd.concat(map(read_tsv, [snakemake.input.per_type, *snakemake.input.controls]))
    left_out = {
        loss: (kind, of, "elsewhere" if elsewhere else "relatives")
        for loss, (kind, of, elsewhere) in snakemake.params.left_out.items()
    }
    table = connectivity(per_type, left_out, snakemake.params.baseline, snakemake.params.compared)
    write_tsv(table, snakemake.output[0])
    log.info("%d rows", len(table))
