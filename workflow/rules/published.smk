"""Stage published: checkpoints of the paper's code, evaluated like fits.

in:  files or addresses of the config's `published`, <data>/{genes.parquet,ontology/…}
out: <results>/fits/<name>/<loss>/<seed>/{model.pt,history.tsv}
"""


def checkpoint_file(wildcards):
    """The file of a published checkpoint: given by the user or downloaded."""
    entry = PUBLISHED[(wildcards.model, wildcards.loss, int(wildcards.seed))]
    return entry["path"] or "<results>/fits/{model}/{loss}/{seed}/published.ckpt"


def of_entry(key):
    """A key of the entry of `published` that belongs to the wildcards."""
    return lambda wildcards: PUBLISHED[(wildcards.model, wildcards.loss, int(wildcards.seed))][key]


rule download_checkpoint:
    output:
        "<results>/fits/{model}/{loss}/{seed}/published.ckpt",
    log:
        "<results>/logs/download_checkpoint/{model}_{loss}_{seed}.log",
    wildcard_constraints:
        model=any_of(PUBLISHED_NAMES),
    retries: 2
    localrule: True  # compute nodes may have no network
    conda:
        ENVIRONMENT
    params:
        url=of_entry("url"),
        sha256=of_entry("sha256"),
    script:
        "../../scripts/download_file.py"


rule read_checkpoint:
    input:
        checkpoint=checkpoint_file,
        genes="<data>/genes.parquet",
        hierarchy="<data>/ontology/hierarchy.parquet",
        targets=f"<data>/cells/targets/{REFERENCE}.npz",
        cells=f"<data>/cells/{REFERENCE}.parquet",
    output:
        model="<results>/fits/{model}/{loss}/{seed}/model.pt",
        history="<results>/fits/{model}/{loss}/{seed}/history.tsv",
    log:
        "<results>/logs/read_checkpoint/{model}_{loss}_{seed}.log",
    benchmark:
        "<results>/benchmarks/read_checkpoint/{model}_{loss}_{seed}.jsonl"
    wildcard_constraints:
        model=any_of(PUBLISHED_NAMES),
    conda:
        ENVIRONMENT
    resources:
        gpu=GPU * ON_SLURM,  # like the other rules of its SLURM job
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        model=lambda wildcards: model_spec(of_entry("model")(wildcards)),
        loss=loss_spec,
        sha256=of_entry("sha256"),
        release=REFERENCE,
        given=lambda wildcards: given(of_entry("path")(wildcards) or []),
    script:
        "../../scripts/read_checkpoint.py"
