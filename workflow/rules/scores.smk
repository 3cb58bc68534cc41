"""Stage scores: scores of every fit, from its predictions.

in:  <results>/predictions/…, <results>/fits/…/{model.pt,history.tsv}, <data>/cells/…,
     <data>/ontology/…, <data>/audit/<set>.parquet
out: <results>/tables/{overall,per_type,per_stratum,confusion,calibration,history,models}.tsv,
     <results>/tables/{type_genes,data_*}.tsv,
     <results>/scores/<model>/<loss>/<seed>/study_counts.parquet
"""

# One fit of each model, to describe its size and training.
FIRST_FITS = [
    next(fit for fit in FITS if fit[0] == name) for name in dict.fromkeys(fit[0] for fit in FITS)
]
LINEAR_FITS = [
    fit
    for fit in FITS
    if class_and_arguments("models", PUBLISHED[fit]["model"] if fit in PUBLISHED else fit[0])[
        "class"
    ]
    == "linear"
]
SCORES = ["overall", "per_type", "per_stratum", "confusion", "calibration"]


rule score_fit:
    input:
        predictions=rules.predict.output,
        cells=expand("<data>/cells/{release}.parquet", release=RELEASES),
        hierarchy="<data>/ontology/hierarchy.parquet",
        reachability="<data>/ontology/reachability.npz",
        targets=expand("<data>/cells/targets/{release}.npz", release=RELEASES),
        audits=expand("<data>/audit/{set}.parquet", set=OOD_SETS.values()),
    output:
        **{score: f"<results>/scores/{{model}}/{{loss}}/{{seed}}/{score}.tsv" for score in SCORES},
        study_counts="<results>/scores/{model}/{loss}/{seed}/study_counts.parquet",
    log:
        "<results>/logs/score_fit/{model}_{loss}_{seed}.log",
    benchmark:
        "<results>/benchmarks/score_fit/{model}_{loss}_{seed}.jsonl"
    conda:
        ENVIRONMENT
    resources:
        gpu=GPU * ON_SLURM,  # like the other rules of its SLURM job
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        sets=EVALUATION_SETS,
        decoders=config["decoders"],
    script:
        "../../scripts/score_fit.py"


rule gather_scores:
    input:
        **{
            score: of_fits(f"<results>/scores/{{model}}/{{loss}}/{{seed}}/{score}.tsv")
            for score in SCORES
        },
    output:
        **{score: f"<results>/tables/{score}.tsv" for score in SCORES},
    log:
        "<results>/logs/gather_scores.log",
    benchmark:
        "<results>/benchmarks/gather_scores.jsonl"
    conda:
        ENVIRONMENT
    params:
        fits=[list(fit) for fit in FITS],
    script:
        "../../scripts/gather_scores.py"


rule gather_history:
    input:
        histories=of_fits("<results>/fits/{model}/{loss}/{seed}/history.tsv", TRAINED),
    output:
        "<results>/tables/history.tsv",
    log:
        "<results>/logs/gather_history.log",
    benchmark:
        "<results>/benchmarks/gather_history.jsonl"
    conda:
        ENVIRONMENT
    params:
        fits=[list(fit) for fit in TRAINED],
    script:
        "../../scripts/gather_history.py"


rule describe_models:
    input:
        models=of_fits("<results>/fits/{model}/{loss}/{seed}/model.pt", FIRST_FITS),
    output:
        "<results>/tables/models.tsv",
    log:
        "<results>/logs/describe_models.log",
    benchmark:
        "<results>/benchmarks/describe_models.jsonl"
    conda:
        ENVIRONMENT
    params:
        models=[model for model, _, _ in FIRST_FITS],
    script:
        "../../scripts/describe_models.py"


rule list_genes:
    input:
        models=of_fits("<results>/fits/{model}/{loss}/{seed}/model.pt", LINEAR_FITS),
    output:
        "<results>/tables/type_genes.tsv",
    log:
        "<results>/logs/list_genes.log",
    benchmark:
        "<results>/benchmarks/list_genes.jsonl"
    conda:
        ENVIRONMENT
    params:
        fits=[list(fit) for fit in LINEAR_FITS],
    script:
        "../../scripts/list_genes.py"


rule describe_data:
    input:
        cells=expand("<data>/cells/{release}.parquet", release=RELEASES),
        types="<data>/cells/types.parquet",
        hierarchy="<data>/ontology/hierarchy.parquet",
    output:
        totals="<results>/tables/data_totals.tsv",
        tissues="<results>/tables/data_tissues.tsv",
        types="<results>/tables/data_types.tsv",
    log:
        "<results>/logs/describe_data.log",
    benchmark:
        "<results>/benchmarks/describe_data.jsonl"
    conda:
        ENVIRONMENT
    script:
        "../../scripts/describe_data.py"
