"""Calibrates a fit's back-off and writes its model file (rule export_model)."""

from typing import Any

import numpy as np

from hce.annotate.annotator import Annotator, save_annotator
from hce.annotate.held_out import HeldOut, measure
from hce.config import named_classes
from hce.files import read_tsv, write_tsv
from hce.jobs.job import job
from hce.models.trained_model import load_model
from hce.ontology.terms import Terms
from hce.training.device import prepare_device

snakemake: Any

with job(snakemake) as log:
    given, params = snakemake.input, snakemake.params
    # Whatever fits are trained in; as the published predictions.
    device = prepare_device(snakemake.config["training"]["device"], snakemake.threads, "fp32")
    held_out = HeldOut.open(given, params, device)
    trained = load_model(given.model, named_classes(snakemake.config))
    log_shares = np.load(given.shares).astype(np.float32)
    found = measure(trained, Terms.load(given.terms), log_shares, held_out)
    novelty, withheld = found.novelty, [found.terms.labels[i] for i in found.terms.withheld]
    log.info("novel: above %.3f; few genes: below %d", novelty.threshold, novelty.few_genes)
    log.info("not answered: %s", ", ".join(withheld) or "none")
    log.info("calibrated precision:\n%s", found.calibrated.to_string(index=False))
    annotator = Annotator(
        trained,
        found.calibrated,
        read_tsv(given.scores)[["set", "decoder", "score", "value"]],
        terms=found.terms,
        reliability=found.tables["reliability"].copy(),
        novelty=novelty,
    )
    save_annotator(snakemake.output.model, annotator)
    fit = {key: snakemake.wildcards[key] for key in ("model", "loss", "seed")}
    for name, table in found.tables.items():
        for position, (key, value) in enumerate(fit.items()):
            table.insert(position, key, value)
        write_tsv(table, snakemake.output[name])
    log.info("wrote %s", snakemake.output.model)
