"""Stage cells: the types, the genes, the cells, and the set that each cell belongs to.

in:  <data>/census/<release>/…, the ontology, the gene list
out: <data>/ontology/{hierarchy.parquet,reachability.npz,terms.tsv}, <data>/genes.parquet,
     <data>/cells/<release>.parquet, <data>/cells/types.parquet, <data>/cells/report.tsv,
     <data>/cells/vocabularies/<release>.tsv, <data>/cells/targets/<release>.npz
"""

if STUDIES:

    rule choose_studies:
        input:
            cells="<data>/census/{release}/cells.parquet",
            # What a study of a newer release is compared with; the reference release has neither.
            known=lambda wildcards: (
                [] if wildcards.release == REFERENCE else known_datasets(wildcards.release)
            ),
            hierarchy=lambda wildcards: (
                [] if wildcards.release == REFERENCE else "<data>/ontology/hierarchy.parquet"
            ),
        output:
            cells="<data>/cells/chosen/{release}.parquet",
            studies="<data>/cells/chosen/{release}.tsv",
            report="<data>/cells/report/studies_{release}.tsv",
        log:
            "<data>/logs/choose_studies_{release}.log",
        benchmark:
            "<data>/benchmarks/choose_studies_{release}.jsonl"
        conda:
            ENVIRONMENT
        resources:
            mem_mb=growing(2000),
            runtime=growing(30),
        params:
            rule=STUDIES,
            match=config["curation"]["match"],
        script:
            "../../scripts/choose_studies.py"


# For the published store, sctab.smk makes these files.
# Other sources have types of their own.
EXPECTED_TYPES = []
if DATA["source"] == "census" and config["curation"]["expected_types"]:
    EXPECTED_TYPES = shipped(config["curation"]["expected_types"])

if not SCTAB:

    rule select_types:
        input:
            cells=RELEASE_CELLS.format(release=REFERENCE),
            ontology=ONTOLOGY,
            expected=EXPECTED_TYPES,
        output:
            hierarchy="<data>/ontology/hierarchy.parquet",
            reachability="<data>/ontology/reachability.npz",
            terms="<data>/ontology/terms.tsv",
            report="<data>/cells/report/types.tsv",
        log:
            "<data>/logs/select_types.log",
        benchmark:
            "<data>/benchmarks/select_types.jsonl"
        conda:
            ENVIRONMENT
        resources:
            mem_mb=growing(6000),
            runtime=growing(30),
        params:
            sha256=config["ontology"]["sha256"],
            given=given(ONTOLOGY, EXPECTED_TYPES),
            criteria={
                key: config["curation"][key]
                for key in ("root", "min_cells", "min_donors", "min_ancestors")
            },
        script:
            "../../scripts/select_types.py"

    rule select_genes:
        input:
            genes=f"<data>/census/{REFERENCE}/genes.parquet",
            names=GENE_LIST,
        output:
            genes="<data>/genes.parquet",
            report="<data>/cells/report/genes.tsv",
        log:
            "<data>/logs/select_genes.log",
        benchmark:
            "<data>/benchmarks/select_genes.jsonl"
        conda:
            ENVIRONMENT
        params:
            sha256=DATA["genes_sha256"],
            given=given(GENE_LIST),
        script:
            "../../scripts/select_genes.py"

    rule split_reference:
        input:
            cells=RELEASE_CELLS.format(release=REFERENCE),
            hierarchy="<data>/ontology/hierarchy.parquet",
        output:
            cells=f"<data>/cells/{REFERENCE}.parquet",
            types="<data>/cells/types.parquet",
            report="<data>/cells/report/split.tsv",
        log:
            "<data>/logs/split_reference.log",
        benchmark:
            "<data>/benchmarks/split_reference.jsonl"
        conda:
            ENVIRONMENT
        resources:
            mem_mb=growing(9000),
            runtime=growing(30),
        params:
            split=config["split"],
        script:
            "../../scripts/split_reference.py"


rule select_new_studies:
    input:
        cells=RELEASE_CELLS,
        known=lambda wildcards: known_datasets(wildcards.release),
        hierarchy="<data>/ontology/hierarchy.parquet",
        genes="<data>/genes.parquet",
        release_genes="<data>/census/{release}/genes.parquet",
    output:
        cells="<data>/cells/{release}.parquet",
        report="<data>/cells/report/new_{release}.tsv",
    log:
        "<data>/logs/select_new_studies_{release}.log",
    benchmark:
        "<data>/benchmarks/select_new_studies_{release}.jsonl"
    wildcard_constraints:
        release=any_of(NEW_RELEASES),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(8000),
        runtime=growing(30),
    params:
        set=lambda wildcards: OOD_SETS[wildcards.release],
        match=config["curation"]["match"],
    script:
        "../../scripts/select_new_studies.py"


# The published store has only the kept cells of the reference release.
KEPT_ONLY = [REFERENCE] if SCTAB else []


rule relate_vocabularies:
    input:
        labels=lambda wildcards: (
            "<data>/cells/{release}.parquet"
            if wildcards.release in KEPT_ONLY
            else "<data>/census/{release}/labels.parquet"
        ),
        ontology=ONTOLOGY,
        hierarchy="<data>/ontology/hierarchy.parquet",
        reachability="<data>/ontology/reachability.npz",
    output:
        vocabularies="<data>/cells/vocabularies/{release}.tsv",
        targets="<data>/cells/targets/{release}.npz",
        report="<data>/cells/report/vocabularies_{release}.tsv",
    log:
        "<data>/logs/relate_vocabularies_{release}.log",
    benchmark:
        "<data>/benchmarks/relate_vocabularies_{release}.jsonl"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(3000),
        runtime=growing(30),
    params:
        sha256=config["ontology"]["sha256"],
        kept_only=lambda wildcards: wildcards.release in KEPT_ONLY,
        min_cells=config["vocabulary"]["min_cells"],
        given=given(ONTOLOGY),
    script:
        "../../scripts/relate_vocabularies.py"


rule report_curation:
    input:
        releases=expand("<data>/census/{release}/release.json", release=RELEASES),
        datasets=expand("<data>/census/{release}/datasets.parquet", release=RELEASES),
        published=shipped("resources/published.tsv"),
        parts=[
            *expand(
                "<data>/cells/report/studies_{release}.tsv", release=RELEASES if STUDIES else []
            ),
            "<data>/cells/report/types.tsv",
            "<data>/cells/report/genes.tsv",
            "<data>/cells/report/split.tsv",
            *expand(
                "<data>/cells/report/files_{release}.tsv",
                release=RELEASES if DATA["source"] == "h5ad" else [],
            ),
            *expand("<data>/cells/report/new_{release}.tsv", release=NEW_RELEASES),
            *expand("<data>/cells/report/vocabularies_{release}.tsv", release=RELEASES),
        ],
    output:
        report(
            "<data>/cells/report.tsv",
            caption="../report/curation.rst",
            category="Data",
            labels={"table": "Cells at each filter"},
        ),
    log:
        "<data>/logs/report_curation.log",
    benchmark:
        "<data>/benchmarks/report_curation.jsonl"
    conda:
        ENVIRONMENT
    params:
        steps=PUBLISHED_STEPS,
        given=given("resources/published.tsv"),
    script:
        "../../scripts/report_curation.py"
