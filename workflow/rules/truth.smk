"""Stage truth: predictions against the finest types, which only a simulated atlas knows.

in:  <data>/census/<release>/truth.parquet, <results>/predictions/…, <results>/tables/overall.tsv
out: <results>/tables/truth.tsv, <results>/figures/truth.*
"""

TRUTH = []

if DATA["source"] == "simulation":

    TRUTH = [
        "<results>/tables/truth.tsv",
        *expand("<results>/figures/truth.{format}", format=["pdf", "png", "svg"]),
    ]

    rule score_truth:
        input:
            predictions=rules.predict.output,
            truths=[f"<data>/census/{SETS[name]}/truth.parquet" for name in EVALUATION_SETS],
            hierarchy="<data>/ontology/hierarchy.parquet",
            ontology=shipped("resources/ontology/cl-slim.obo"),
        output:
            "<results>/scores/{model}/{loss}/{seed}/truth.tsv",
        log:
            "<results>/logs/score_truth/{model}_{loss}_{seed}.log",
        benchmark:
            "<results>/benchmarks/score_truth/{model}_{loss}_{seed}.jsonl"
        conda:
            ENVIRONMENT
        resources:
            gpu=GPU * ON_SLURM,  # as the rules that share its SLURM job
        params:
            sets=EVALUATION_SETS,
            decoders=config["decoders"],
        script:
            "../../scripts/score_truth.py"

    rule gather_truth:
        input:
            truth=of_fits("<results>/scores/{model}/{loss}/{seed}/truth.tsv"),
        output:
            truth="<results>/tables/truth.tsv",
        log:
            "<results>/logs/gather_truth.log",
        benchmark:
            "<results>/benchmarks/gather_truth.jsonl"
        conda:
            ENVIRONMENT
        params:
            fits=[list(fit) for fit in FITS],
        script:
            "../../scripts/gather_scores.py"

    rule plot_truth:
        input:
            truth="<results>/tables/truth.tsv",
            overall="<results>/tables/overall.tsv",
        output:
            **pictures({"truth": "Scores and the truth"}),
        log:
            "<results>/logs/plot_truth.log",
        benchmark:
            "<results>/benchmarks/plot_truth.jsonl"
        conda:
            ENVIRONMENT
        params:
            figures=["truth"],
            options={"model": config["figures"]["model"]},
            note=NOTE,
            words=words("model"),
        script:
            "../../scripts/plot_figures.py"
