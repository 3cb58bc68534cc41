"""Stage statistics: what changes with the loss, and whether it is more than chance.

in:  <results>/tables/{per_type,per_study}.tsv
out: <results>/tables/{type,study}_changes.tsv
"""


rule test_changes:
    input:
        per_type="<results>/tables/per_type.tsv",
        per_study="<results>/tables/per_study.tsv",
    output:
        type_changes="<results>/tables/type_changes.tsv",
        study_changes="<results>/tables/study_changes.tsv",
    log:
        "<results>/logs/test_changes.log",
    params:
        baseline=config["statistics"]["baseline"],
        alpha=config["statistics"]["alpha"],
    script:
        "../../scripts/test_changes.py"
