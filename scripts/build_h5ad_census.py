"""Writes one release of a collection of h5ads as a census-shaped SOMA (rule build_h5ad_census)."""

from typing import Any

from hce.files import write_tsv
from hce.jobs.job import job
from hce.ontology import read_ontology
from hce.sources.h5ad import h5ad_release, missing_genes, read_manifest, shared_genes
from hce.sources.soma import HUMAN, write_census

snakemake: Any

with job(snakemake) as log:
    releases = list(snakemake.params.releases)
    release = snakemake.wildcards.release
    studies = read_manifest(
        snakemake.input.manifest,
        snakemake.params.dir,
        releases,
        read_ontology(snakemake.input.ontology, snakemake.params.sha256),
        snakemake.params.new_study,
    )
    genes = shared_genes(studies, releases[0])
    report = missing_genes(studies, genes, release)
    for row in report.itertuples():
        log.info("%s: %d", row.quantity, row.value)
    write_census(
        snakemake.output.soma,
        release,
        h5ad_release(studies, genes, releases, release),
        {HUMAN: genes},
    )
    write_tsv(report, snakemake.output.report)
