"""Finds which share of its counts each type has in each gene (rule share_genes)."""

from pathlib import Path
from typing import Any

import numpy as np

from hce.annotate.novelty import log_shares
from hce.files import atomic_path
from hce.jobs.job import job
from hce.ontology import Hierarchy
from hce.store.cell_store import CellStore

snakemake: Any

with job(snakemake) as log:
    n_types = len(Hierarchy.load(Path(snakemake.input.hierarchy).parent))
    shares = log_shares(CellStore.open(snakemake.input.store), n_types)
    with atomic_path(snakemake.output[0]) as temporary, open(temporary, "wb") as file:
        np.save(file, shares)
    log.info("%d types, %d genes", *shares.shape)
