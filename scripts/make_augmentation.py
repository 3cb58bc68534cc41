"""Computes augmentation vectors, or takes published ones (rule make_augmentation)."""

from typing import Any

import numpy as np
import pandas as pd

from hce.files import atomic_path, write_tsv
from hce.jobs.job import job
from hce.store.cell_store import CellStore
from hce.training.augmentation import AugmentationSpec, make_vectors, read_published_vectors

snakemake: Any

with job(snakemake) as log:
    store = CellStore.open(snakemake.input.train)
    if snakemake.input.published:
        vectors = read_published_vectors(snakemake.input.published, len(store.genes))
        report = pd.DataFrame({"quantity": ["published vectors", "vectors"], "value": len(vectors)})
    else:
        vectors, report = make_vectors(store, AugmentationSpec(**snakemake.params.spec))
    with atomic_path(snakemake.output.vectors) as temporary:
        np.save(temporary, vectors)
    write_tsv(report, snakemake.output.report)
    log.info("%d vectors of %d genes", *vectors.shape)
