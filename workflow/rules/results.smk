"""Stage results: the authors' own predictions, scored like those of the run.

in:  files or addresses of the config's `published` that hold results, <data>/cells/…
out: <results>/published/<name>/<loss>/<seed>.tsv, <results>/tables/published_results.tsv
"""

RESULTS_NAMES = list(dict.fromkeys(name for name, _, _ in RESULTS))


def of_results(key):
    """A key of the entry of `published` whose predictions belong to the wildcards."""
    return lambda wildcards: RESULTS[(wildcards.name, wildcards.loss, int(wildcards.seed))][key]


def results_file(wildcards):
    """A file of predictions: given by the user or downloaded."""
    return of_results("path")(wildcards) or "<results>/published/{name}/{loss}/{seed}.parquet"


def release_of_results(wildcards):
    """The release of the set that the predictions are of."""
    return SETS[of_results("set")(wildcards)]


rule download_results:
    output:
        "<results>/published/{name}/{loss}/{seed}.parquet",
    log:
        "<results>/logs/download_results/{name}_{loss}_{seed}.log",
    wildcard_constraints:
        name=any_of(RESULTS_NAMES),
    retries: 2
    localrule: True  # compute nodes may have no network
    conda:
        ENVIRONMENT
    params:
        url=of_results("url"),
        sha256=of_results("sha256"),
    script:
        "../../scripts/download_file.py"


rule score_results:
    input:
        results=results_file,
        cells=lambda wildcards: f"<data>/cells/{release_of_results(wildcards)}.parquet",
        targets=lambda wildcards: f"<data>/cells/targets/{release_of_results(wildcards)}.npz",
        hierarchy="<data>/ontology/hierarchy.parquet",
        reachability="<data>/ontology/reachability.npz",
    output:
        "<results>/published/{name}/{loss}/{seed}.tsv",
    log:
        "<results>/logs/score_results/{name}_{loss}_{seed}.log",
    benchmark:
        "<results>/benchmarks/score_results/{name}_{loss}_{seed}.jsonl"
    wildcard_constraints:
        name=any_of(RESULTS_NAMES),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        model=of_results("model"),
        set=of_results("set"),
        sha256=of_results("sha256"),
        given=lambda wildcards: given(of_results("path")(wildcards) or []),
    script:
        "../../scripts/score_results.py"


rule gather_results:
    input:
        published_results=[
            f"<results>/published/{name}/{loss}/{seed}.tsv" for name, loss, seed in RESULTS
        ],
    output:
        published_results="<results>/tables/published_results.tsv",
    log:
        "<results>/logs/gather_results.log",
    benchmark:
        "<results>/benchmarks/gather_results.jsonl"
    conda:
        ENVIRONMENT
    script:
        "../../scripts/join_tables.py"
