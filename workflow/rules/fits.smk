"""Stages train and predict: one fit is a model with a loss and a seed.

in:  <data>/store/…, <data>/augmentation/vectors.npy, <data>/ontology/…,
     <data>/cells/{types.parquet,targets/…}, <results>/controls/…
out: <results>/fits/<model>/<loss>/<seed>/{model.pt,history.tsv},
     <results>/predictions/<model>/<loss>/<seed>/<set>.parquet

The scripts read training.device and training.residency from the config, so that a change of them
triggers no rerun.
"""

from hce.batches.memory import asked_mb

# Processes that train one fit together, and what they request from SLURM in addition to GPUs.
PROCESSES = {key: config["training"][key] for key in ("devices", "nodes")}
TASKS = {}
if PROCESSES["devices"] * PROCESSES["nodes"] > 1:
    per_node = [f"--ntasks-per-node={PROCESSES['devices']}"]
    if FIT_GPUS:  # otherwise SLURM may divide them unevenly between nodes
        # The GPU model has to be repeated here; Snakemake passes it as an object.
        gpu_model = workflow.resource_settings.overwrite_resources.get("fit", {}).get("gpu_model")
        gpu_model = getattr(gpu_model, "raw", gpu_model)
        per_node.append(
            f"--gpus-per-node={gpu_model + ':' if gpu_model else ''}{PROCESSES['devices']}"
        )
    TASKS = {
        "mpi": "srun",  # the fit itself starts its tasks on all nodes
        "nodes": PROCESSES["nodes"],
        "tasks": PROCESSES["devices"] * PROCESSES["nodes"],
        "tasks_per_gpu": 0,
        "slurm_extra": " ".join(per_node),
    }


rule fit:
    input:
        train="<data>/store/train",
        val="<data>/store/val",
        monitored=expand("<data>/store/{set}", set=config["training"]["monitor"]),
        hierarchy="<data>/ontology/hierarchy.parquet",
        types=lambda wildcards: (
            f"<results>/controls/{wildcards.loss}/types.parquet"
            if config["losses"][wildcards.loss]["left_out"]
            else "<data>/cells/types.parquet"
        ),
        targets=lambda wildcards: expand(
            (
                "<results>/controls/permuted_vocabularies/{release}.npz"
                if own_reachability(wildcards.loss) == "permuted_vocabularies"
                else "<data>/cells/targets/{release}.npz"
            ),
            # Not of all releases: another one that is added would train everything again.
            release=dict.fromkeys(SETS[set] for set in ("train", *config["training"]["monitor"])),
        ),
        augmentation=lambda wildcards: (
            "<data>/augmentation/vectors.npy" if wildcards.model in AUGMENTED else []
        ),
        reachability=lambda wildcards: (
            f"<results>/controls/{wildcards.loss}/reachability.npy"
            if own_reachability(wildcards.loss) not in (None, "permuted_vocabularies")
            else []
        ),
    output:
        model="<results>/fits/{model}/{loss}/{seed}/model.pt",
        history="<results>/fits/{model}/{loss}/{seed}/history.tsv",
    log:
        "<results>/logs/fit/{model}_{loss}_{seed}.log",
    benchmark:
        "<results>/benchmarks/fit/{model}_{loss}_{seed}.jsonl"
    wildcard_constraints:
        model=any_of(config["models"]),
    conda:
        ENVIRONMENT
    threads: config["training"]["threads"]
    resources:
        **TASKS,
        gpu=FIT_GPUS,
        mem_mb=lambda wildcards, input, attempt: asked_mb(
            config["training"]["residency"],
            stores_bytes(input.train, input.val, *input.monitored),
            PROCESSES["devices"],
            PROCESSES["nodes"],
            attempt,
        ),
        # Not more at the next attempt: a fit goes on where its time was up.
        runtime=lambda wildcards: math.ceil(60 * config["models"][wildcards.model]["hours"]),
    params:
        processes=PROCESSES,
        model=lambda wildcards: model_spec(wildcards.model),
        loss=loss_spec,
        monitor=config["training"]["monitor"],
        training={
            key: config["training"][key]
            for key in (
                "batch_size",
                "max_epochs",
                "patience",
                "select_by",
                "absent_types",
                "max_gradient_norm",
                "precision",
                "deterministic",
            )
        },
    script:
        "../../scripts/fit_model.py"


rule predict:
    input:
        model="<results>/fits/{model}/{loss}/{seed}/model.pt",
        stores=expand("<data>/store/{set}", set=EVALUATION_SETS),
        types="<data>/cells/types.parquet",
    output:
        expand(
            "<results>/predictions/{{model}}/{{loss}}/{{seed}}/{set}.parquet", set=EVALUATION_SETS
        ),
    log:
        "<results>/logs/predict/{model}_{loss}_{seed}.log",
    benchmark:
        "<results>/benchmarks/predict/{model}_{loss}_{seed}.jsonl"
    conda:
        ENVIRONMENT
    threads: config["training"]["threads"]
    resources:
        gpu=GPU,
        mem_mb=growing(6000),  # cells are streamed
        runtime=growing(120),
    params:
        decoders=config["decoders"],
        batch_size=config["training"]["batch_size"],
    script:
        "../../scripts/predict_cells.py"
