"""Judges the answers for cells whose label is not a type (rule score_open_labels)."""

from typing import Any

import pandas as pd

from hce.annotate.annotator import load_annotator
from hce.annotate.open_labels import COLUMNS, cells_with, score_open_labels
from hce.config import named_classes
from hce.files import read_tsv, write_tsv
from hce.jobs.job import job
from hce.ontology import read_ontology
from hce.ontology.vocabularies import ALL_CELLS
from hce.store.cell_store import CellStore
from hce.training.device import prepare_device

snakemake: Any

with job(snakemake) as log:
    given, params = snakemake.input, snakemake.params
    # Whatever fits are trained in; as the calibration.
    device = prepare_device(snakemake.config["training"]["device"], snakemake.threads, "fp32")
    ontology = read_ontology(given.ontology, params.sha256)
    vocabularies = pd.concat([read_tsv(path) for path in given.vocabularies])
    reference = vocabularies[vocabularies["release"] == params.reference]
    folders = dict(zip(params.sets, given.stores, strict=True))
    rows = [pd.DataFrame(columns=["model", "loss", "seed", "set", *COLUMNS])]
    for fit, path in zip(params.fits, given.models, strict=True):
        annotator = load_annotator(path, trusted=named_classes(snakemake.config))
        for name, folder in folders.items():
            scored = score_open_labels(
                *(annotator, CellStore.open(folder), vocabularies, params.sets[name], ontology),
                *(params.min_cells, params.batch_size, device),
            )
            # Of the published store only the kept cells are known.
            if (reference["counted"] == ALL_CELLS).all():
                counts = cells_with(reference, scored["cl_id"], ontology)
                scored = scored.assign(reference_cells=counts)
            rows.append(scored.assign(model=fit[0], loss=fit[1], seed=fit[2], set=name))
            log.info("%s, %s: %d labels", path, name, len(scored))
    table = pd.concat([part for part in rows if len(part)] or rows)
    write_tsv(table.reindex(columns=rows[0].columns), snakemake.output[0])
