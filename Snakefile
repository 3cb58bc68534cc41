"""From Census releases to the paper's figures; see README.md.

    ontology ─┐
    census ───┴─> cells ─> store ─> fits ─> scores ─> statistics ─> figures ─> report

Each stage has one file in workflow/rules. Data go to <data> (shared by runs), everything else to
<results>.
"""

import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/repository.smk"


from hce.config import check_files, is_local, read_schema, resolve
from hce.errors import UserError


configfile: shipped("config/config.yaml")


try:
    config = resolve(
        config, read_schema(workflow.source_path("workflow/schemas/config.schema.yaml"))
    )
    check_files(config, shipped)
except UserError as error:
    raise WorkflowError(str(error))


pathvars:
    results=f"results/{config['run']}",
    data=f"{config['data']['dir']}/{config['data']['name']}",


include: "workflow/rules/common.smk"
include: "workflow/rules/software.smk"
include: "workflow/rules/ontology.smk"
include: "workflow/rules/genes.smk"
include: "workflow/rules/sources.smk"
include: "workflow/rules/census.smk"
include: "workflow/rules/sctab.smk"
include: "workflow/rules/cells.smk"
include: "workflow/rules/store.smk"
include: "workflow/rules/audit.smk"
include: "workflow/rules/augmentation.smk"
include: "workflow/rules/fits.smk"


if PUBLISHED:

    include: "workflow/rules/published.smk"


if RESULTS:

    include: "workflow/rules/results.smk"


if DATA["source"] == "published":

    include: "workflow/rules/model_files.smk"


include: "workflow/rules/scores.smk"
include: "workflow/rules/truth.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/controls.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/annotate.smk"
include: "workflow/rules/open_labels.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/code.smk"
include: "workflow/rules/hooks.smk"


if DATA["source"] == "published":

    rule model_files:
        default_target: True
        input:
            MODEL_FILES,


rule all:
    default_target: DATA["source"] != "published"
    input:
        "<results>/index.html",
        "<results>/summary.md",
        "<results>/explorer.html",
        expand(
            "<results>/tables/{table}.tsv",
            table=["bootstrap", "calibration", "controls", "factorial", "history"],
        ),
        expand("<results>/figures/figure_{n}.{format}", n=[1, 2], format=["pdf", "png", "svg"]),
        expand(
            "<results>/figures/{name}.{format}",
            name=[*SUPPLEMENTS, *DIAGNOSTICS],
            format=["pdf", "png", "svg"],
        ),
        expand("<results>/figures/leakage.{format}", format=["pdf", "png", "svg"]),
        TRUTH,
        CONNECTIVITY,
        expand("<results>/figures/coverage.{format}", format=["pdf", "png", "svg"]),
        "<results>/models/best.hce",
        expand("<results>/models/best_{panel}.hce", panel=PANELS),
        "<results>/tables/open_labels.tsv" if NEW_RELEASES else [],
        expand("<results>/annotated/{cells}.h5ad", cells=ANNOTATED),
        "<results>/config.yaml",
        "<results>/provenance.json",
        "<data>/ready.json",


rule data:
    input:
        DATA_FILES,
        DOWNLOADS,
