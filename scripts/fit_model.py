"""Trains one model with one loss and one seed (rule fit)."""

from pathlib import Path
from typing import Any

from hce.jobs.job import job
from hce.training.device import prepare_device
from hce.training.distributed import run_processes
from hce.training.fit import fit_model

snakemake: Any

with job(snakemake) as log:
    training = snakemake.params.training
    call = {
        "train_store": snakemake.input.train,
        "val_store": snakemake.input.val,
        "monitored_stores": dict(
            zip(snakemake.params.monitor, snakemake.input.monitored, strict=True)
        ),
        "hierarchy_folder": str(Path(snakemake.input.hierarchy).parent),
        "types_table": snakemake.input.types,
        "model_spec": snakemake.params.model,
        "loss_spec": snakemake.params.loss,
        "training": training,
        "seed": int(snakemake.wildcards.seed),
        "residency": snakemake.config["training"]["residency"],
        "augmentation": snakemake.input.augmentation or None,
        "control_reachability": snakemake.input.reachability or None,
        "model_path": snakemake.output.model,
        "history_path": snakemake.output.history,
    }
    processes = snakemake.params.processes
    if processes["devices"] * processes["nodes"] > 1:
        run_processes(
            call,
            device=snakemake.config["training"]["device"],
            threads=snakemake.threads,
            log=snakemake.log[0],
            spec=Path(snakemake.output.model).with_name("processes.json"),
            **processes,
        )
    else:
        device = prepare_device(
            snakemake.config["training"]["device"],
            snakemake.threads,
            training["precision"],
            training["deterministic"],
        )
        log.info("training on %s with %d threads", device, snakemake.threads)
        fit_model(**call, device=device)
