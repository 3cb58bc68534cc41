"""Calibrates a fit's back-off and writes its model file (rule export_model)."""

from typing import Any

import numpy as np
import pandas as pd

from hce.annotate import calibration
from hce.annotate.annotator import Annotator, save_annotator
from hce.config import named_classes
from hce.files import read_tsv, write_tsv
from hce.jobs.job import job
from hce.models.trained_model import load_model
from hce.store.cell_store import CellStore
from hce.training.device import prepare_device

snakemake: Any

with job(snakemake) as log:
    # Whatever fits are trained in; as the published predictions.
    device = prepare_device(snakemake.config["training"]["device"], snakemake.threads, "fp32")
    trained = load_model(snakemake.input.model, named_classes(snakemake.config))
    by_donor = snakemake.params.split_unit == "donor"
    outcomes = {}
    for name, folder in zip(snakemake.params.sets, snakemake.input.stores, strict=True):
        store = CellStore.open(folder)
        groups = (
            calibration.donors_of(store.cells()) if name == "val" else np.zeros(len(store), int)
        )
        outcomes[name] = calibration.count_outcomes(
            trained, store, groups, snakemake.params.batch_size, device
        )
    calibrated = calibration.calibrate(outcomes["val"], by_donor)
    log.info("calibrated precision:\n%s", calibrated.to_string(index=False))
    fit = {key: snakemake.wildcards[key] for key in ("model", "loss", "seed")}
    tables = calibration.tables(outcomes, calibrated, trained)
    for name, table in tables.items():
        for position, (key, value) in enumerate(fit.items()):
            table.insert(position, key, value)
        write_tsv(table, snakemake.output[name])
    scores = read_tsv(snakemake.input.scores)[["set", "decoder", "score", "value"]]
    annotator = Annotator(trained, calibrated, pd.DataFrame(scores))
    save_annotator(snakemake.output.model, annotator)
    log.info("wrote %s", snakemake.output.model)
