"""Stage annotate: model files to hand on, their calibrated precision, and a user's own cells.

in:  <results>/fits/…/model.pt, <results>/scores/…/{overall.tsv,study_counts.parquet},
     <data>/store/…, <data>/cells/vocabularies/<release>.tsv, annotate.{manifest,panels}
out: <data>/terms/…, <results>/models/{<model>_<loss>_<seed>,best}.hce,
     <results>/models/best_<panel>.hce, <results>/tables/{model_choice,coverage,calibrated_precision,calibrated_precision_types,
     reliability,novelty}.tsv,
     <results>/figures/coverage.*, <results>/annotated/<name>.h5ad
"""

from hce.inputs.manifests import read_annotation_manifest

COVERAGE = [
    *("coverage", "calibrated_precision", "calibrated_precision_types", "reliability", "novelty"),
]
# The first seed of each model and loss is calibrated; others only if their files are requested.
CALIBRATED = [fit for fit in FITS if fit == next(f for f in FITS if f[:2] == fit[:2])]
try:
    ANNOTATED = read_annotation_manifest(config["annotate"]["manifest"])
except UserError as error:
    raise WorkflowError(str(error))
ANNOTATION_MODEL = config["annotate"]["model"] or "<results>/models/best.hce"
PANELS = config["annotate"]["panels"]


wildcard_constraints:
    cells=any_of(ANNOTATED),
    panel=any_of(PANELS),


rule relate_terms:
    input:
        ontology=ONTOLOGY,
        hierarchy="<data>/ontology/hierarchy.parquet",
        reachability="<data>/ontology/reachability.npz",
        vocabularies=expand("<data>/cells/vocabularies/{release}.tsv", release=RELEASES),
        abbreviations=shipped("resources/ontology/abbreviations.tsv"),
    output:
        terms="<data>/terms/terms.npz",
        targets=expand("<data>/terms/targets_{release}.npz", release=RELEASES),
    log:
        "<data>/logs/relate_terms.log",
    benchmark:
        "<data>/benchmarks/relate_terms.jsonl"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(3000),
        runtime=growing(30),
    params:
        sha256=config["ontology"]["sha256"],
        min_cells=config["vocabulary"]["min_cells"],
        given=given(ONTOLOGY),
    script:
        "../../scripts/relate_terms.py"


rule share_genes:
    input:
        store="<data>/store/train",
        hierarchy="<data>/ontology/hierarchy.parquet",
        reachability="<data>/ontology/reachability.npz",
    output:
        "<data>/terms/log_shares.npy",
    log:
        "<data>/logs/share_genes.log",
    benchmark:
        "<data>/benchmarks/share_genes.jsonl"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    script:
        "../../scripts/share_genes.py"


rule export_model:
    input:
        model="<results>/fits/{model}/{loss}/{seed}/model.pt",
        scores="<results>/scores/{model}/{loss}/{seed}/overall.tsv",
        terms="<data>/terms/terms.npz",
        shares="<data>/terms/log_shares.npy",
        targets=expand("<data>/terms/targets_{release}.npz", release=RELEASES),
        stores=expand("<data>/store/{set}", set=EVALUATION_SETS),
    output:
        **{name: f"<results>/scores/{{model}}/{{loss}}/{{seed}}/{name}.tsv" for name in COVERAGE},
        model="<results>/models/{model}_{loss}_{seed}.hce",
    log:
        "<results>/logs/export_model/{model}_{loss}_{seed}.log",
    benchmark:
        "<results>/benchmarks/export_model/{model}_{loss}_{seed}.jsonl"
    conda:
        ENVIRONMENT
    threads: config["training"]["threads"]
    resources:
        gpu=GPU,
        mem_mb=growing(3000),
        runtime=growing(120),
    params:
        sets={name: SETS[name] for name in EVALUATION_SETS},
        reference=REFERENCE,
        split_unit=config["split"]["unit"],
        batch_size=config["training"]["batch_size"],
    script:
        "../../scripts/export_model.py"


rule gather_coverage:
    input:
        **{
            name: [
                f"<results>/scores/{model}/{loss}/{seed}/{name}.tsv"
                for model, loss, seed in CALIBRATED
            ]
            for name in COVERAGE
        },
    output:
        **{name: f"<results>/tables/{name}.tsv" for name in COVERAGE},
    log:
        "<results>/logs/gather_coverage.log",
    benchmark:
        "<results>/benchmarks/gather_coverage.jsonl"
    conda:
        ENVIRONMENT
    script:
        "../../scripts/join_tables.py"


rule choose_model:
    input:
        models=[f"<results>/models/{'_'.join(map(str, fit))}.hce" for fit in CALIBRATED],
        counts=[
            f"<results>/scores/{'/'.join(map(str, fit))}/study_counts.parquet"
            for fit in CALIBRATED
        ],
        hierarchy="<data>/ontology/hierarchy.parquet",
        reachability="<data>/ontology/reachability.npz",
    output:
        model="<results>/models/best.hce",
        table="<results>/tables/model_choice.tsv",
    log:
        "<results>/logs/choose_model.log",
    benchmark:
        "<results>/benchmarks/choose_model.jsonl"
    conda:
        ENVIRONMENT
    params:
        fits=[list(fit) for fit in CALIBRATED],
        new_sets=list(OOD_SETS.values()),
    script:
        "../../scripts/choose_model.py"


rule export_panel:
    input:
        model="<results>/models/best.hce",
        panel=lambda wildcards: shipped(PANELS[wildcards.panel]),
        terms=rules.export_model.input.terms,
        targets=rules.export_model.input.targets,
        stores=rules.export_model.input.stores,
    output:
        "<results>/models/best_{panel}.hce",
    log:
        "<results>/logs/export_panel/{panel}.log",
    benchmark:
        "<results>/benchmarks/export_panel/{panel}.jsonl"
    conda:
        ENVIRONMENT
    threads: config["training"]["threads"]
    resources:
        gpu=GPU,
        mem_mb=growing(3000),
        runtime=growing(120),
    params:
        sets=rules.export_model.params.sets,
        reference=REFERENCE,
        split_unit=config["split"]["unit"],
        batch_size=config["training"]["batch_size"],
        given=lambda wildcards: given(PANELS[wildcards.panel]),
    script:
        "../../scripts/export_panel.py"


rule plot_coverage:
    input:
        **{name: f"<results>/tables/{name}.tsv" for name in COVERAGE},
    output:
        **pictures({"coverage": "Back-off"}),
    log:
        "<results>/logs/plot_coverage.log",
    benchmark:
        "<results>/benchmarks/plot_coverage.jsonl"
    conda:
        ENVIRONMENT
    params:
        figures=["coverage"],
        options={
            "model": config["figures"]["model"],
            "compared": config["statistics"]["compared"],
        },
        note=NOTE,
        words=words("simulated", "model"),
    script:
        "../../scripts/plot_figures.py"


rule annotate_cells:
    input:
        cells=lambda wildcards: ANNOTATED[wildcards.cells]["file"],
        model=ANNOTATION_MODEL,
    output:
        "<results>/annotated/{cells}.h5ad",
    log:
        "<results>/logs/annotate_cells/{cells}.log",
    benchmark:
        "<results>/benchmarks/annotate_cells/{cells}.jsonl"
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        gpu=GPU,
        mem_mb=growing(3000),
        runtime=growing(120),
    params:
        options=lambda wildcards: ANNOTATED[wildcards.cells]["options"],
        probability=config["annotate"]["probability"],
        given=lambda wildcards: given(ANNOTATED[wildcards.cells]["file"], ANNOTATION_MODEL),
    script:
        "../../scripts/annotate_cells.py"
