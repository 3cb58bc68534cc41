"""Stage store: the counts of the selected cells.

in:  <data>/cells/<release>.parquet, <data>/genes.parquet, the release's counts
out: <data>/store/<set>/ (shards, cells.parquet, manifest.json)
"""

SHARDS = range(config["export"]["shards"])


rule export_counts:
    input:
        soma=local_soma,
        cells="<data>/cells/{release}.parquet",
        genes="<data>/genes.parquet",
        release_genes="<data>/census/{release}/genes.parquet",
    output:
        counts=temp("<data>/export/{release}/{shard}.arrow"),
        # Recorded when the job ends, see `hce.checksums`; named here so that it goes with the shard.
        checksum=temp("<data>/export/{release}/.{shard}.arrow.crc32c"),
    log:
        "<data>/logs/export_counts_{release}_{shard}.log",
    benchmark:
        "<data>/benchmarks/export_counts_{release}_{shard}.jsonl"
    retries: None if LOCAL_CENSUS else 3
    conda:
        ENVIRONMENT
    resources:
        census_connections=int(not LOCAL_CENSUS),
        mem_mb=growing(2000),
        runtime=growing(240),
    params:
        uri=lambda wildcards: URIS[wildcards.release],
        shards=config["export"]["shards"],
    script:
        "../../scripts/export_counts.py"


rule build_store:
    input:
        # Kept until all stores of the release are built, so that one that fails needs no new export.
        counts=lambda wildcards: expand(
            "<data>/export/{release}/{shard}.arrow", release=SETS[wildcards.set], shard=SHARDS
        ),
        checksums=lambda wildcards: expand(
            "<data>/export/{release}/.{shard}.arrow.crc32c",
            release=SETS[wildcards.set],
            shard=SHARDS,
        ),
        cells=lambda wildcards: f"<data>/cells/{SETS[wildcards.set]}.parquet",
        genes="<data>/genes.parquet",
        description=lambda wildcards: f"<data>/census/{SETS[wildcards.set]}/release.json",
    output:
        directory("<data>/store/{set}"),
    log:
        "<data>/logs/build_store_{set}.log",
    benchmark:
        "<data>/benchmarks/build_store_{set}.jsonl"
    wildcard_constraints:
        # sctab.smk makes the others from the published store.
        set=any_of(OOD_SETS.values() if SCTAB else SETS),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    script:
        "../../scripts/build_store.py"
