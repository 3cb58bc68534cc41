"""Stage model files: with source published, model files of the paper's checkpoints, without any cells.

in:  the files or addresses of the config's `published`, the genes of the reference release, data.genes,
     curation.expected_types, the ontology
out: <results>/models/{<name>_<loss>_<seed>.hce,<name>_<loss>_<seed>.md,models.tsv}
"""


def published_predictions(wildcards):
    """The published predictions of a checkpoint: their file and set, if there are any."""
    wanted = PUBLISHED[(wildcards.model, wildcards.loss, int(wildcards.seed))]
    for fit, entry in RESULTS.items():
        if all(entry[key] == wanted[key] for key in ("model", "loss", "seed")):
            place = "<results>/published/{}/{}/{}.parquet".format(*fit)
            return entry["path"] or place, entry["set"]
    return [], None


MODEL_NAMES = ["_".join(map(str, fit)) for fit in PUBLISHED]
MODEL_FILES = expand("<results>/models/{name}.{end}", name=MODEL_NAMES, end=["hce", "md"])
MODEL_FILES.append("<results>/models/models.tsv")


rule read_genes:
    output:
        f"<data>/published/genes_{REFERENCE}.parquet",
    log:
        "<data>/logs/read_genes.log",
    benchmark:
        "<data>/benchmarks/read_genes.jsonl"
    retries: 3
    localrule: True  # compute nodes may have no network
    conda:
        ENVIRONMENT
    params:
        release=REFERENCE,
        uri=URIS[REFERENCE],
    script:
        "../../scripts/read_genes.py"


rule make_model_file:
    input:
        checkpoint=checkpoint_file,
        release_genes=f"<data>/published/genes_{REFERENCE}.parquet",
        names=GENE_LIST,
        types=shipped(config["curation"]["expected_types"]),
        ontology=ONTOLOGY,
        abbreviations=shipped("resources/ontology/abbreviations.tsv"),
        results=lambda wildcards: published_predictions(wildcards)[0],
    output:
        model="<results>/models/{model}_{loss}_{seed}.hce",
        card="<results>/models/{model}_{loss}_{seed}.md",
    log:
        "<results>/logs/make_model_file/{model}_{loss}_{seed}.log",
    benchmark:
        "<results>/benchmarks/make_model_file/{model}_{loss}_{seed}.jsonl"
    wildcard_constraints:
        model=any_of(PUBLISHED_NAMES),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(6000),
        runtime=growing(60),
    params:
        model=lambda wildcards: model_spec(of_entry("model")(wildcards)),
        loss=loss_spec,
        licence=of_entry("licence"),
        release=REFERENCE,
        min_genes=DATA["min_genes"],
        set=lambda wildcards: published_predictions(wildcards)[1],
        sha256=of_entry("sha256"),
        genes_sha256=DATA["genes_sha256"],
        ontology_sha256=config["ontology"]["sha256"],
        given=lambda wildcards: given(of_entry("path")(wildcards) or []),
    script:
        "../../scripts/make_model_file.py"


rule list_models:
    input:
        expand("<results>/models/{name}.hce", name=MODEL_NAMES),
    output:
        "<results>/models/models.tsv",
    log:
        "<results>/logs/list_models.log",
    benchmark:
        "<results>/benchmarks/list_models.jsonl"
    conda:
        ENVIRONMENT
    script:
        "../../scripts/list_models.py"


# The rule that calibrates on cells makes files of the same names.
ruleorder: make_model_file > export_model
