"""Stage statistics: what changes with the loss, and whether it is more than chance.

in:  <results>/tables/{per_type,per_stratum}.tsv
out: <results>/tables/{type,stratum}_changes.tsv
"""


rule test_changes:
    input:
        per_type="<results>/tables/per_type.tsv",
        per_stratum="<results>/tables/per_stratum.tsv",
    output:
        type_changes="<results>/tables/type_changes.tsv",
        stratum_changes="<results>/tables/stratum_changes.tsv",
    log:
        "<results>/logs/test_changes.log",
    benchmark:
        "<results>/benchmarks/test_changes.jsonl"
    params:
        baseline=config["statistics"]["baseline"],
        alpha=config["statistics"]["alpha"],
    script:
        "../../scripts/test_changes.py"
