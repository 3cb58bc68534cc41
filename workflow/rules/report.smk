"""Stage report: published against reproduced, the resolved config, and Snakemake's report.

in:  <results>/tables/*.tsv, <data>/cells/report.tsv, <data>/audit/summary.tsv
out: <results>/summary.md, <results>/config.yaml, and after the run <results>/report.html
"""


report: "../report/workflow.rst"


rule write_summary:
    input:
        overall="<results>/tables/overall.tsv",
        type_changes="<results>/tables/type_changes.tsv",
        stratum_changes="<results>/tables/stratum_changes.tsv",
        data_totals="<results>/tables/data_totals.tsv",
        report="<data>/cells/report.tsv",
        published="resources/published.tsv",
        audit="<data>/audit/summary.tsv",
        augmentation=(
            "<data>/augmentation/report.tsv"
            if set(AUGMENTED) & set(config["fits"]["models"])
            else []
        ),
    output:
        report(
            "<results>/summary.md",
            caption="../report/summary.rst",
            category="Summary",
            labels={"table": "Published against reproduced"},
        ),
    log:
        "<results>/logs/write_summary.log",
    params:
        run=config["run"],
        note=NOTE,
        fits=[list(fit) for fit in FITS],
        alpha=config["statistics"]["alpha"],
    script:
        "../../scripts/write_summary.py"


rule write_config:
    output:
        "<results>/config.yaml",
    log:
        "<results>/logs/write_config.log",
    localrule: True
    params:
        config=config,
    script:
        "../../scripts/write_config.py"


onstart:
    cancel_leftovers()


onsuccess:
    make_report()


onerror:
    name_failed_jobs()
