"""Stage statistics: changes between losses, with tests and intervals.

in:  <results>/tables/{per_type,per_stratum}.tsv, <results>/scores/…/study_counts.parquet,
     <data>/ontology/…
out: <results>/tables/{type_changes,stratum_changes,bootstrap,factorial}.tsv
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
