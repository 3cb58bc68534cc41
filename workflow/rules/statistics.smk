"""Stage statistics: changes between losses, with tests and intervals.

in:  <results>/tables/{per_type,per_stratum}.tsv, <results>/scores/…/study_counts.parquet,
     <data>/ontology/…
out: <results>/tables/{type_changes,stratum_changes,bootstrap,decomposition,factorial}.tsv
"""


rule compare_losses:
    input:
        per_type="<results>/tables/per_type.tsv",
        per_stratum="<results>/tables/per_stratum.tsv",
    output:
        type_changes="<results>/tables/type_changes.tsv",
        stratum_changes="<results>/tables/stratum_changes.tsv",
    log:
        "<results>/logs/compare_losses.log",
    benchmark:
        "<results>/benchmarks/compare_losses.jsonl"
    conda:
        ENVIRONMENT
    params:
        baseline=config["statistics"]["baseline"],
        alpha=config["statistics"]["alpha"],
    script:
        "../../scripts/compare_losses.py"


rule bootstrap_changes:
    input:
        counts=of_fits("<results>/scores/{model}/{loss}/{seed}/study_counts.parquet"),
        hierarchy="<data>/ontology/hierarchy.parquet",
        reachability="<data>/ontology/reachability.npz",
    output:
        "<results>/tables/bootstrap.tsv",
    log:
        "<results>/logs/bootstrap_changes.log",
    benchmark:
        "<results>/benchmarks/bootstrap_changes.jsonl"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        fits=[list(fit) for fit in FITS],
        baseline=config["statistics"]["baseline"],
        alpha=config["statistics"]["alpha"],
        draws=config["statistics"]["draws"],
    script:
        "../../scripts/bootstrap_changes.py"


DIVIDED = [
    fit
    for fit in FITS
    if fit[1] in (config["statistics"]["baseline"], config["statistics"]["compared"])
]


rule decompose_gain:
    input:
        counts=of_fits("<results>/scores/{model}/{loss}/{seed}/study_counts.parquet", DIVIDED),
        hierarchy="<data>/ontology/hierarchy.parquet",
        reachability="<data>/ontology/reachability.npz",
    output:
        "<results>/tables/decomposition.tsv",
    log:
        "<results>/logs/decompose_gain.log",
    benchmark:
        "<results>/benchmarks/decompose_gain.jsonl"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        fits=[list(fit) for fit in DIVIDED],
        baseline=config["statistics"]["baseline"],
        compared=config["statistics"]["compared"],
        alpha=config["statistics"]["alpha"],
        draws=config["statistics"]["draws"],
    script:
        "../../scripts/decompose_gain.py"


rule divide_gain:
    input:
        per_type="<results>/tables/per_type.tsv",
        hierarchy="<data>/ontology/hierarchy.parquet",
    output:
        "<results>/tables/factorial.tsv",
    log:
        "<results>/logs/divide_gain.log",
    benchmark:
        "<results>/benchmarks/divide_gain.jsonl"
    conda:
        ENVIRONMENT
    params:
        baseline=config["statistics"]["baseline"],
        compared=config["statistics"]["compared"],
    script:
        "../../scripts/divide_gain.py"
