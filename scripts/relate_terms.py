"""Finds the terms above the types, and the targets of all studies over them (rule relate_terms)."""

from pathlib import Path
from typing import Any

from hce.files import read_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy, read_ontology
from hce.ontology.synonyms import read_abbreviations, read_synonyms, together
from hce.ontology.targets import Targets
from hce.ontology.terms import Terms

snakemake: Any

with job(snakemake) as log:
    given = snakemake.input
    ontology = read_ontology(given.ontology, snakemake.params.sha256)
    synonyms = together(read_synonyms(given.ontology), read_abbreviations(given.abbreviations))
    terms = Terms.above(Hierarchy.load(Path(given.hierarchy).parent), ontology, synonyms)
    terms.save(snakemake.output.terms)
    log.info("%d types, %d terms above them", terms.n_types, len(terms) - terms.n_types)
    for source, path in zip(given.vocabularies, snakemake.output.targets, strict=True):
        vocabularies = read_tsv(source)
        hierarchy, min_cells = terms.as_hierarchy(), snakemake.params.min_cells
        Targets.build(vocabularies, hierarchy, ontology, min_cells).save(path)
