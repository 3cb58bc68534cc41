"""Calibrates a fit's back-off and writes its model file (rule export_model)."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from hce.annotate import calibration
from hce.annotate.annotator import Annotator, save_annotator
from hce.annotate.novelty import Novelty, by_study, score_store
from hce.annotate.outcomes import Outcomes, count_outcomes, donors_of
from hce.config import named_classes
from hce.files import read_tsv, write_tsv
from hce.jobs.job import job
from hce.models.trained_model import load_model
from hce.ontology.targets import Targets
from hce.ontology.terms import Terms
from hce.store.cell_store import CellStore
from hce.training.device import prepare_device

snakemake: Any

with job(snakemake) as log:
    given, params = snakemake.input, snakemake.params
    # Whatever fits are trained in; as the published predictions.
    device = prepare_device(snakemake.config["training"]["device"], snakemake.threads, "fp32")
    trained = load_model(given.model, named_classes(snakemake.config))
    targets = Targets.load(*given.targets)
    folders = dict(zip(params.sets, given.stores, strict=True))
    log_shares = np.load(given.shares).astype(np.float32)
    scored = {
        name: score_store(trained, log_shares, CellStore.open(folder), params.batch_size, device)
        for name, folder in folders.items()
    }
    novelty = Novelty.calibrated(log_shares, scored["val"])
    log.info("novel: above %.3f; few genes: below %d", novelty.threshold, novelty.few_genes)

    def outcomes_of(name: str, terms: Terms) -> Outcomes:
        """What the back-off answers on a set, if these terms may be answered."""
        store = CellStore.open(folders[name])
        cells = store.cells()
        own = targets.of_cells(params.sets[name], cells["study"], cells["label"].to_numpy())
        groups = donors_of(cells) if name == "val" else pd.factorize(cells["study"])[0]
        novel = (scored[name]["novelty"] > novelty.threshold).to_numpy()
        return count_outcomes(
            *(trained, terms, store, targets, own, groups, params.batch_size, device), novel=novel
        )

    terms = Terms.load(given.terms)
    terms = replace(terms, withheld=calibration.indistinct(outcomes_of("val", terms)))
    log.info("not answered: %s", ", ".join(terms.labels[i] for i in terms.withheld) or "none")
    outcomes = {name: outcomes_of(name, terms) for name in params.sets}
    studies = {
        name: pd.factorize(CellStore.open(folders[name]).cells(["study"])["study"])[1].tolist()
        for name, release in params.sets.items()
        if release != params.reference
    }
    new, _ = calibration.new_studies(outcomes, studies)
    calibrated = calibration.calibrate(outcomes["val"], new, params.split_unit == "donor")
    log.info("calibrated precision:\n%s", calibrated.to_string(index=False))
    fit = {key: snakemake.wildcards[key] for key in ("model", "loss", "seed")}
    tables = calibration.tables(outcomes, studies, calibrated, terms.labels)
    tables["novelty"] = by_study(novelty, scored)
    annotator = Annotator(
        trained,
        calibrated,
        read_tsv(given.scores)[["set", "decoder", "score", "value"]],
        terms=terms,
        reliability=tables["reliability"].copy(),
        novelty=novelty,
    )
    save_annotator(snakemake.output.model, annotator)
    for name, table in tables.items():
        for position, (key, value) in enumerate(fit.items()):
            table.insert(position, key, value)
        write_tsv(table, snakemake.output[name])
    log.info("wrote %s", snakemake.output.model)
