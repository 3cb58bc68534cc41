"""Writes one release of the simulated atlas as a census-shaped SOMA (rule simulate_census)."""

from typing import Any

from hce.files import read_tsv
from hce.jobs.job import job
from hce.ontology import read_ontology
from hce.sources.simulation import SUMMARY, simulate_release, simulated_genes
from hce.sources.simulation_design import SimulationSettings
from hce.sources.soma import write_census

snakemake: Any

with job(snakemake) as log:
    settings = SimulationSettings(**snakemake.params.settings)
    releases = [snakemake.params.reference, *snakemake.params.new]
    release = snakemake.wildcards.release
    log.info("Simulating release %s with %s.", release, settings)
    write_census(
        snakemake.output.soma,
        release,
        simulate_release(
            settings,
            read_ontology(snakemake.input.ontology),
            read_tsv(snakemake.input.types),
            releases,
            release,
        ),
        simulated_genes(settings, releases, release),
        SUMMARY,
    )
