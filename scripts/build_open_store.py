"""Stores cells of new studies whose label is not a type (rule build_open_store)."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hce.census.counts import CountsReader
from hce.census.release import open_release, positions_of_genes
from hce.census.retry import Connection
from hce.curation.cells import read_release_cells, read_studies
from hce.curation.open_cells import select_open_cells
from hce.files import read_parquet, read_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy
from hce.store.cell_store import write_store
from hce.store.shards import write_shard

snakemake: Any

with job(snakemake) as log:
    given, params = snakemake.input, snakemake.params
    name = snakemake.wildcards.release
    known = read_studies(given.known)
    cells = select_open_cells(
        read_release_cells(given.cells, without=known),
        known,
        Hierarchy.load(Path(given.hierarchy).parent).types,
        read_tsv(given.vocabularies),
        params.match,
    )
    genes = read_parquet(given.genes)
    positions = positions_of_genes(genes, read_parquet(given.release_genes), name, 0.0)
    description = json.loads(Path(given.description).read_text(encoding="utf-8"))
    connection = Connection(**snakemake.config["data"]["connection"])
    uri = given.get("soma") or params.uri
    place = Path(snakemake.output[0])
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-") as folder:
        exported = Path(folder, "0.arrow")
        with open_release(name, uri, connection) as release:
            blocks = CountsReader(release, positions).blocks(cells["soma_joinid"].to_numpy())
            write_shard(exported, blocks)
        provenance = {"release": name, "set": place.name, "uri": description["uri"]}
        write_store(place, [exported], cells, genes, provenance | description["summary"])
    log.info("%d cells of %d labels", len(cells), cells["cl_id"].nunique())
