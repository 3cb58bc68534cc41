"""Stage audit: what the new studies have in common with the reference release.

in:  <data>/store/…, <data>/cells/<release>.parquet, <data>/census/<release>/…
out: <data>/audit/<set>.parquet (which cells of an OOD set are leaky, and why),
     <data>/audit/{summary,studies,withdrawn,annotations}.tsv, <results>/figures/leakage.*
"""

AUDITS = ["summary", "studies", "withdrawn", "annotations"]


rule audit_reference:
    input:
        stores=expand("<data>/store/{set}", set=["train", "val", "id"]),
        cells=f"<data>/cells/{REFERENCE}.parquet",
    output:
        "<data>/audit/reference/summary.tsv",
    log:
        "<data>/logs/audit_reference.log",
    benchmark:
        "<data>/benchmarks/audit_reference.jsonl"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(6000),
        runtime=growing(120),
    params:
        release=REFERENCE,
    script:
        "../../scripts/audit_reference.py"


rule audit_leakage:
    input:
        soma=lambda wildcards: (f"<data>/census/{SETS[wildcards.set]}/soma" if LOCAL_CENSUS else []),
        store="<data>/store/{set}",
        reference_stores=expand("<data>/store/{set}", set=["train", "val", "id"]),
        cells=lambda wildcards: f"<data>/cells/{SETS[wildcards.set]}.parquet",
        reference_cells=f"<data>/cells/{REFERENCE}.parquet",
        release_cells=lambda wildcards: RELEASE_CELLS.format(release=SETS[wildcards.set]),
        release_genes=lambda wildcards: f"<data>/census/{SETS[wildcards.set]}/genes.parquet",
        datasets=lambda wildcards: f"<data>/census/{SETS[wildcards.set]}/datasets.parquet",
        known=f"<data>/census/{REFERENCE}/datasets.parquet",
        not_new=lambda wildcards: known_datasets(SETS[wildcards.set]),
        genes="<data>/genes.parquet",
        names=GENE_LIST,
        hierarchy="<data>/ontology/hierarchy.parquet",
    output:
        **{name: f"<data>/audit/{{set}}/{name}.tsv" for name in AUDITS},
        cells="<data>/audit/{set}.parquet",
    log:
        "<data>/logs/audit_leakage_{set}.log",
    benchmark:
        "<data>/benchmarks/audit_leakage_{set}.jsonl"
    wildcard_constraints:
        set=any_of(OOD_SETS.values()),
    retries: None if LOCAL_CENSUS else 3
    conda:
        ENVIRONMENT
    resources:
        census_connections=int(not LOCAL_CENSUS),
        mem_mb=growing(6000),
        runtime=growing(120),
    params:
        release=lambda wildcards: SETS[wildcards.set],
        uri=lambda wildcards: URIS[SETS[wildcards.set]],
        reasons=config["audit"]["reasons"],
        redeposit_share=config["audit"]["redeposit_share"],
    script:
        "../../scripts/audit_leakage.py"


rule gather_audit:
    input:
        summary=[
            "<data>/audit/reference/summary.tsv",
            *expand("<data>/audit/{set}/summary.tsv", set=OOD_SETS.values()),
        ],
        studies=expand("<data>/audit/{set}/studies.tsv", set=OOD_SETS.values()),
        withdrawn=expand("<data>/audit/{set}/withdrawn.tsv", set=OOD_SETS.values()),
        annotations=expand("<data>/audit/{set}/annotations.tsv", set=OOD_SETS.values()),
    output:
        **{name: f"<data>/audit/{name}.tsv" for name in AUDITS},
    log:
        "<data>/logs/gather_audit.log",
    benchmark:
        "<data>/benchmarks/gather_audit.jsonl"
    conda:
        ENVIRONMENT
    script:
        "../../scripts/join_tables.py"


rule plot_audit:
    input:
        studies="<data>/audit/studies.tsv",
        summary="<data>/audit/summary.tsv",
        overall="<results>/tables/overall.tsv",
    output:
        **pictures({"leakage": "Leakage"}),
    log:
        "<results>/logs/plot_audit.log",
    benchmark:
        "<results>/benchmarks/plot_audit.jsonl"
    conda:
        ENVIRONMENT
    params:
        figures=["leakage"],
        options={},
        note=NOTE,
        words=words("simulated", "reference"),
    script:
        "../../scripts/plot_figures.py"


# How far two studies agree; only where figures.ceiling asks for it, or as a target of its own.
AGREEMENTS = (
    expand("<data>/agreement/{release}.tsv", release=NEW_RELEASES)
    if config["figures"]["ceiling"]
    else []
)


rule measure_agreement:
    input:
        soma=local_soma,
        ontology=ONTOLOGY,
        hierarchy="<data>/ontology/hierarchy.parquet",
        reachability="<data>/ontology/reachability.npz",
        targets="<data>/cells/targets/{release}.npz",
    output:
        "<data>/agreement/{release}.tsv",
    log:
        "<data>/logs/measure_agreement_{release}.log",
    benchmark:
        "<data>/benchmarks/measure_agreement_{release}.jsonl"
    retries: None if LOCAL_CENSUS else 3
    conda:
        ENVIRONMENT
    resources:
        census_connections=int(not LOCAL_CENSUS),
        mem_mb=growing(12000),
        runtime=growing(240),
    params:
        uri=lambda wildcards: URIS[wildcards.release],
        sha256=config["ontology"]["sha256"],
    script:
        "../../scripts/measure_agreement.py"


rule gather_agreement:
    input:
        agreement=AGREEMENTS,
    output:
        agreement="<results>/tables/agreement.tsv",
    log:
        "<results>/logs/gather_agreement.log",
    benchmark:
        "<results>/benchmarks/gather_agreement.jsonl"
    conda:
        ENVIRONMENT
    script:
        "../../scripts/join_tables.py"
