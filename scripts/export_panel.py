"""Calibrates the chosen model for a panel of genes (rule export_panel)."""

from dataclasses import replace
from typing import Any

from hce.annotate.annotator import load_annotator, save_annotator
from hce.annotate.held_out import HeldOut, measure
from hce.annotate.panel import read_panel
from hce.config import named_classes
from hce.jobs.job import job
from hce.ontology.terms import Terms
from hce.training.device import prepare_device

snakemake: Any

with job(snakemake) as log:
    given, params = snakemake.input, snakemake.params
    device = prepare_device(snakemake.config["training"]["device"], snakemake.threads, "fp32")
    best = load_annotator(given.model, trusted=named_classes(snakemake.config))
    panel = read_panel(given.panel, best.trained.genes)
    held_out = HeldOut.open(given, params, device, panel)
    novelty = best.novelty
    assert novelty is not None  # export_model calibrates it
    shares = novelty.among(panel).log_shares
    found = measure(best.trained, Terms.load(given.terms), shares, held_out)
    log.info("calibrated precision:\n%s", found.calibrated.to_string(index=False))
    annotator = replace(
        best,
        calibrated_precision=found.calibrated,
        terms=found.terms,
        reliability=found.tables["reliability"],
        novelty=replace(found.novelty, log_shares=novelty.log_shares),
        panel=panel,
    )
    save_annotator(snakemake.output[0], annotator)
    log.info("wrote %s for the %d genes of %s", snakemake.output[0], panel.sum(), given.panel)
