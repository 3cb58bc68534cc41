"""Source sctab: the published scTab store replaces stages cells and store of the reference release.

in:  data.sctab.archive, the ontology
out: <data>/ontology/…, <data>/genes.parquet, <data>/cells/{<reference>,types}.parquet,
     <data>/cells/sctab.tsv (the archive compared with what is known about it), <data>/augmentations.npy,
     <data>/store/{train,val,id}/
"""

# Folder of the published scTab store, None for other sources; a rule unpacks a tar file.
# It can be deleted once it has been read.
SCTAB = None
if DATA["source"] == "sctab":
    archive = Path(DATA["sctab"]["archive"])
    read = Path(DATA["dir"]) / DATA["name"] / "cells" / "types.parquet"
    if not archive.exists() and not read.exists():
        raise WorkflowError(f"Config key data.sctab.archive names {archive}, which does not exist.")
    SCTAB = str(archive) if archive.is_dir() else "<data>/sctab"

if SCTAB == "<data>/sctab":

    rule unpack_sctab:
        input:
            DATA["sctab"]["archive"],
        output:
            temp(directory(SCTAB)),
        log:
            "<data>/logs/unpack_sctab.log",
        benchmark:
            "<data>/benchmarks/unpack_sctab.jsonl"
        conda:
            ENVIRONMENT
        resources:
            mem_mb=growing(1000),
            runtime=growing(720),
        script:
            "../../scripts/unpack_sctab.py"


if SCTAB:

    rule read_sctab:
        input:
            archive=SCTAB,
            ontology=ONTOLOGY,
            types=shipped("resources/ontology/cell_types_164.tsv"),
            names=lambda wildcards: GENE_LIST,
            published=shipped("resources/published.tsv"),
        output:
            hierarchy="<data>/ontology/hierarchy.parquet",
            reachability="<data>/ontology/reachability.npz",
            terms="<data>/ontology/terms.tsv",
            types_report="<data>/cells/report/types.tsv",
            genes="<data>/genes.parquet",
            genes_report="<data>/cells/report/genes.tsv",
            cells=f"<data>/cells/{REFERENCE}.parquet",
            types="<data>/cells/types.parquet",
            split_report="<data>/cells/report/split.tsv",
            comparison="<data>/cells/sctab.tsv",
            augmentations="<data>/augmentations.npy",
        log:
            "<data>/logs/read_sctab.log",
        benchmark:
            "<data>/benchmarks/read_sctab.jsonl"
        conda:
            ENVIRONMENT
        resources:
            mem_mb=growing(8000),
            runtime=growing(60),
        params:
            sha256=config["ontology"]["sha256"],
            given=given(
                ONTOLOGY,
                GENE_LIST,
                "resources/ontology/cell_types_164.tsv",
                "resources/published.tsv",
            ),
        script:
            "../../scripts/read_sctab.py"

    rule convert_sctab:
        input:
            archive=SCTAB,
            cells=f"<data>/cells/{REFERENCE}.parquet",
        output:
            directory("<data>/store/{set}"),
        log:
            "<data>/logs/convert_sctab_{set}.log",
        benchmark:
            "<data>/benchmarks/convert_sctab_{set}.jsonl"
        wildcard_constraints:
            set="train|val|id",
        conda:
            ENVIRONMENT
        threads: 8
        resources:
            mem_mb=lambda wildcards, threads, attempt: attempt * (2000 + 400 * threads),
            runtime=growing(720),
        params:
            release=REFERENCE,
            archive=DATA["sctab"]["archive"],
        script:
            "../../scripts/convert_sctab.py"
