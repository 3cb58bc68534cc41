"""Trains one model with one loss and one seed (rule fit)."""

from pathlib import Path
from typing import Any

from hce.jobs.job import job
from hce.training.device import prepare_device
from hce.training.fit import FitSpec, fit_model
from hce.training.launch import run_processes

snakemake: Any

with job(snakemake) as log:
    spec = FitSpec(
        train_store=snakemake.input.train,
        val_store=snakemake.input.val,
        hierarchy_folder=str(Path(snakemake.input.hierarchy).parent),
        types_table=snakemake.input.types,
        model=snakemake.params.model,
        loss=snakemake.params.loss,
        training=snakemake.params.training,
        seed=int(snakemake.wildcards.seed),
        model_path=snakemake.output.model,
        history_path=snakemake.output.history,
        monitored_stores=dict(
            zip(snakemake.params.monitor, snakemake.input.monitored, strict=True)
        ),
        residency=snakemake.config["training"]["residency"],
        stage=snakemake.config["data"]["stage"],
        memory_mb=snakemake.resources.get("mem_mb"),
        order_file=Path(snakemake.output.model).parents[3] / "order.json",
        augmentation=snakemake.input.augmentation or None,
        targets=snakemake.input.targets,
        control_reachability=snakemake.input.reachability or None,
    )
    device = snakemake.config["training"]["device"]
    processes = snakemake.params.processes
    if processes["devices"] * processes["nodes"] > 1:
        run_processes(spec, device, threads=snakemake.threads, log=snakemake.log[0], **processes)
    else:
        prepared = prepare_device(
            device, snakemake.threads, spec.training["precision"], spec.training["deterministic"]
        )
        log.info("training on %s with %d threads", prepared, snakemake.threads)
        fit_model(spec, prepared)
