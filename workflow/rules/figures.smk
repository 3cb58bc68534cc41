"""Stage figures: draws the figures from the tables.

in:  <results>/tables/*.tsv, <data>/audit/studies.tsv
out: <results>/figures/{figure_<n>,figure_s<n>,factorial,…}.{pdf,png,svg}
"""

# File → title in the report; scripts/hce/figures/catalogue.py defines how they are drawn.
SUPPLEMENTS = {f"figure_s{n}": f"Supplementary Figure {n}" for n in range(1, 11)}
DIAGNOSTICS = {
    "factorial": "Losses and decoders",
    "frontier": "Study-aware against exact scores",
    "decomposition": "What the gain is made of",
    "learning_curves": "Learning curves",
    "calibration": "Calibration",
    "releases": "Later releases",
}
AGREEMENT = "<results>/tables/agreement.tsv" if AGREEMENTS else []
SCORED_RELEASES = {name: release for name, release in SETS.items() if name not in ("train", "val")}


rule choose_subgraph:
    input:
        hierarchy="<data>/ontology/hierarchy.parquet",
    output:
        "<results>/tables/subgraph.tsv",
    log:
        "<results>/logs/choose_subgraph.log",
    priority: 100  # so that a wrong type is reported before long jobs start
    localrule: True
    conda:
        ENVIRONMENT
    params:
        subgraph=config["figures"]["subgraph"],
    script:
        "../../scripts/choose_subgraph.py"


rule plot_figure_1:
    input:
        overall="<results>/tables/overall.tsv",
        data_totals="<results>/tables/data_totals.tsv",
        data_tissues="<results>/tables/data_tissues.tsv",
        data_types="<results>/tables/data_types.tsv",
        models="<results>/tables/models.tsv",
        agreement=AGREEMENT,
    output:
        **pictures({"figure_1": "Figure 1"}),
    log:
        "<results>/logs/plot_figure_1.log",
    benchmark:
        "<results>/benchmarks/plot_figure_1.jsonl"
    conda:
        ENVIRONMENT
    params:
        figures=["figure_1"],
        options={"releases": SCORED_RELEASES},
        note=NOTE,
        words=words("simulated", "reference"),
    script:
        "../../scripts/plot_figures.py"


rule plot_figure_2:
    input:
        overall="<results>/tables/overall.tsv",
        type_changes="<results>/tables/type_changes.tsv",
        per_type="<results>/tables/per_type.tsv",
        confusion="<results>/tables/confusion.tsv",
        data_types="<results>/tables/data_types.tsv",
        subgraph="<results>/tables/subgraph.tsv",
    output:
        **pictures({"figure_2": "Figure 2"}),
    log:
        "<results>/logs/plot_figure_2.log",
    benchmark:
        "<results>/benchmarks/plot_figure_2.jsonl"
    conda:
        ENVIRONMENT
    params:
        figures=["figure_2"],
        options={
            "model": config["figures"]["model"],
            "root": config["figures"]["subgraph"],
            "compared": config["statistics"]["compared"],
        },
        note=NOTE,
        words=words("simulated", "model", "subgraph", "alpha", "interval", "tested"),
    script:
        "../../scripts/plot_figures.py"


rule plot_supplement:
    input:
        overall="<results>/tables/overall.tsv",
        type_changes="<results>/tables/type_changes.tsv",
        per_type="<results>/tables/per_type.tsv",
        per_stratum="<results>/tables/per_stratum.tsv",
        stratum_changes="<results>/tables/stratum_changes.tsv",
        data_types="<results>/tables/data_types.tsv",
        audit_studies="<data>/audit/studies.tsv",
        bootstrap="<results>/tables/bootstrap.tsv",
    output:
        **pictures(SUPPLEMENTS),
    log:
        "<results>/logs/plot_supplement.log",
    benchmark:
        "<results>/benchmarks/plot_supplement.jsonl"
    conda:
        ENVIRONMENT
    params:
        figures=list(SUPPLEMENTS),
        options={
            "model": config["figures"]["model"],
            "compared": config["statistics"]["compared"],
        },
        note=NOTE,
        words=words("simulated", "baseline", "compared", "alpha", "interval", "tested"),
    script:
        "../../scripts/plot_figures.py"


rule plot_diagnostics:
    input:
        overall="<results>/tables/overall.tsv",
        factorial="<results>/tables/factorial.tsv",
        decomposition="<results>/tables/decomposition.tsv",
        history="<results>/tables/history.tsv",
        calibration="<results>/tables/calibration.tsv",
        data_totals="<results>/tables/data_totals.tsv",
        report="<data>/cells/report.tsv",
        agreement=AGREEMENT,
    output:
        **pictures(DIAGNOSTICS),
    log:
        "<results>/logs/plot_diagnostics.log",
    benchmark:
        "<results>/benchmarks/plot_diagnostics.jsonl"
    conda:
        ENVIRONMENT
    params:
        figures=list(DIAGNOSTICS),
        options={"releases": SCORED_RELEASES},
        note=NOTE,
        words=words("simulated", "baseline", "compared", "interval"),
    script:
        "../../scripts/plot_figures.py"
