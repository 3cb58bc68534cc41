"""Stage census: metadata of a release: its cells, genes and datasets.

in:  a Census release (network, or the local SOMA of stage sources)
out: <data>/census/<release>/{cells,labels,genes,datasets}.parquet and release.json
"""


rule read_release:
    input:
        soma=local_soma,
    output:
        cells="<data>/census/{release}/cells.parquet",
        labels="<data>/census/{release}/labels.parquet",
        genes="<data>/census/{release}/genes.parquet",
        datasets="<data>/census/{release}/datasets.parquet",
        description="<data>/census/{release}/release.json",
    log:
        "<data>/logs/read_release_{release}.log",
    benchmark:
        "<data>/benchmarks/read_release_{release}.jsonl"
    retries: None if LOCAL_CENSUS else 3
    conda:
        ENVIRONMENT
    resources:
        census_connections=int(not LOCAL_CENSUS),
        mem_mb=growing(2000),
        runtime=growing(120),
    params:
        uri=lambda wildcards: URIS[wildcards.release],
        assays=config["curation"]["assays"],
        newer_assays=config["curation"]["newer_assays"],
        tissue_types=config["curation"]["tissue_types"],
    script:
        "../../scripts/read_release.py"
