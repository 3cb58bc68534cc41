"""Makes a model file of a published checkpoint, without cells (rule make_model_file)."""

from typing import Any

from hce.annotate.annotator import load_annotator, save_annotator
from hce.annotate.by_results import Calibration, calibrate_by_results
from hce.annotate.from_checkpoint import annotator_of
from hce.curation.gene_list import read_gene_names
from hce.curation.select import select_genes
from hce.files import atomic_path, check_sha256, read_parquet, read_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy, read_ontology
from hce.ontology.synonyms import read_abbreviations, read_synonyms, together
from hce.ontology.terms import Terms
from hce.report.model_card import model_card

snakemake: Any

with job(snakemake) as log:
    given, params, made = snakemake.input, snakemake.params, snakemake.output
    check_sha256(given.checkpoint, params.sha256, "published.sha256")
    names = None
    if given.get("names"):
        check_sha256(given.names, params.genes_sha256, "data.genes_sha256")
        names = read_gene_names(given.names)
    genes = select_genes(read_parquet(given.release_genes), names, params.min_genes)
    ontology = read_ontology(given.ontology, params.ontology_sha256)
    types = read_tsv(given.types)
    hierarchy = Hierarchy.build(dict(zip(types["cl_id"], types["label"], strict=True)), ontology)
    synonyms = together(read_synonyms(given.ontology), read_abbreviations(given.abbreviations))
    terms = Terms.above(hierarchy, ontology, synonyms)
    known = Calibration()
    if results := given.get("results"):
        known = calibrate_by_results(results, params.set, hierarchy, terms, ontology)
        log.info("calibrated precision:\n%s", known.calibrated.to_string(index=False))
    annotator = annotator_of(
        *(given.checkpoint, params.model, params.loss, genes, hierarchy, terms, known),
        seed=int(snakemake.wildcards.seed),
        data={"release": params.release},
        licence=params.licence,
    )
    save_annotator(made.model, annotator)
    with atomic_path(made.card) as temporary:
        temporary.write_text(model_card(load_annotator(made.model), made.model), encoding="utf-8")
    log.info("wrote %s: %d genes, %d types", made.model, len(genes), len(hierarchy))
