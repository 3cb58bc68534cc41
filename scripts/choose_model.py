"""Takes the model and decoder that are best on studies held out (rule choose_model)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from hce.annotate.annotator import load_annotator, save_annotator
from hce.annotate.choice import compare
from hce.config import named_classes
from hce.files import read_parquet, write_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy

snakemake: Any

with job(snakemake) as log:
    given, params = snakemake.input, snakemake.params
    fits = [tuple(map(str, fit)) for fit in params.fits]
    counts = {fit: read_parquet(path) for fit, path in zip(fits, given.counts, strict=True)}
    hierarchy = Hierarchy.load(Path(given.hierarchy).parent)
    comparison = compare(counts, hierarchy.reachability, params.new_sets)
    best = comparison.iloc[0]
    chosen = given.models[fits.index((best["model"], best["loss"], best["seed"]))]
    annotator = load_annotator(chosen, trusted=named_classes(snakemake.config))
    save_annotator(
        snakemake.output.model,
        replace(annotator, decoder=best["decoder"], comparison=comparison),
    )
    write_tsv(comparison, snakemake.output.table)
    log.info("%s with the decoder %s is the best", chosen, best["decoder"])
