"""Stage open labels: cells of new studies whose label is not a type of the run.

in:  <data>/census/<release>/…, <data>/cells/vocabularies/…, the release's counts,
     <results>/models/…
out: <data>/store/open_<release>, <results>/tables/open_labels.tsv
"""

OPEN_STORES = expand("<data>/store/open_{release}", release=NEW_RELEASES)


rule build_open_store:
    input:
        soma=local_soma,
        cells=RELEASE_CELLS,
        known=lambda wildcards: known_datasets(wildcards.release),
        hierarchy="<data>/ontology/hierarchy.parquet",
        vocabularies="<data>/cells/vocabularies/{release}.tsv",
        genes="<data>/genes.parquet",
        release_genes="<data>/census/{release}/genes.parquet",
        description="<data>/census/{release}/release.json",
    output:
        directory("<data>/store/open_{release}"),
    log:
        "<data>/logs/build_open_store_{release}.log",
    benchmark:
        "<data>/benchmarks/build_open_store_{release}.jsonl"
    wildcard_constraints:
        release=any_of(NEW_RELEASES),
    retries: None if LOCAL_CENSUS else 3
    conda:
        ENVIRONMENT
    resources:
        census_connections=int(not LOCAL_CENSUS),
        mem_mb=growing(8000),
        runtime=growing(240),
    params:
        uri=lambda wildcards: URIS[wildcards.release],
        match=config["curation"]["match"],
    script:
        "../../scripts/build_open_store.py"


rule score_open_labels:
    input:
        models=[f"<results>/models/{'_'.join(map(str, fit))}.hce" for fit in CALIBRATED],
        stores=OPEN_STORES,
        vocabularies=expand("<data>/cells/vocabularies/{release}.tsv", release=RELEASES),
        ontology=ONTOLOGY,
    output:
        "<results>/tables/open_labels.tsv",
    log:
        "<results>/logs/score_open_labels.log",
    benchmark:
        "<results>/benchmarks/score_open_labels.jsonl"
    conda:
        ENVIRONMENT
    threads: config["training"]["threads"]
    resources:
        gpu=GPU,
        mem_mb=growing(3000),
        runtime=growing(120),
    params:
        fits=[list(fit) for fit in CALIBRATED],
        sets={name: release for release, name in OOD_SETS.items()},
        reference=REFERENCE,
        min_cells=config["vocabulary"]["min_cells"],
        batch_size=config["training"]["batch_size"],
        sha256=config["ontology"]["sha256"],
        given=given(ONTOLOGY),
    script:
        "../../scripts/score_open_labels.py"
