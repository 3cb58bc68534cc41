"""One fit from files to files: a store and two catalogue entries to a model and its history."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from hce import __version__
from hce.batches.densify import Augmentation, read_vectors
from hce.batches.placement import (
    choose_residency,
    explaining_memory,
    open_batches,
    total_bytes,
)
from hce.errors import UserError
from hce.files import write_tsv
from hce.losses import build_loss
from hce.models import build_model, takes_sparse
from hce.models.trained_model import save_model
from hce.ontology import Hierarchy
from hce.store.cell_store import CellStore
from hce.training.checkpoint import Checkpoint, fingerprint
from hce.training.device import BATCH_DTYPES
from hce.training.distributed import OneProcess, check_processes, common_residency
from hce.training.loop import ALONE, Recipe, train

logger = logging.getLogger(__name__)

# What a killed fit loses at most.
CHECKPOINT_MINUTES = 10.0
# Between the random seeds of processes, larger than any seed of a fit.
RANK_STRIDE = 1_000_003


def fit_model(
    *,
    train_store: str | Path,
    val_store: str | Path,
    monitored_stores: Mapping[str, str | Path],
    hierarchy_folder: str | Path,
    types_table: str | Path,
    model_spec: Mapping[str, Any],
    loss_spec: Mapping[str, Any],
    training: Mapping[str, Any],
    seed: int,
    device: torch.device,
    processes: OneProcess = ALONE,
    model_path: str | Path,
    history_path: str | Path,
    residency: str = "auto",
    augmentation: str | Path | None = None,
    control_reachability: str | Path | None = None,
) -> None:
    """Trains a model and writes it with its history.

    Args:
        train_store: folder of the training cells.
        val_store: folder of the validation cells.
        monitored_stores: name → folder of further sets to score after every epoch.
        hierarchy_folder: of `Hierarchy.load`.
        types_table: table of types with class_weight, in index order.
        model_spec: class, arguments, optimizer, schedule (an entry of the config's models).
        loss_spec: class, arguments (an entry of the config's losses).
        training: the config's training: batch_size, max_epochs, patience, max_gradient_norm,
            precision.
        seed: of initialisation, dropout, augmentation and the order of cells.
        device: where to train.
        processes: those that train this fit together; the first one writes.
        model_path: output, see `model_file`.
        history_path: output, TSV, a row an epoch, written after every epoch.
        residency: where the cells stay, the config's training.residency.
        augmentation: .npy, float32 (vectors, genes), see `densify.Augmentation`; without vectors
            in it, or with None, cells are not augmented.
        control_reachability: .npy, bool (C, C), that loss and validation take in place of the
            hierarchy's; see `controls`. The model file has the hierarchy's beside it.

    Its state is kept in `resume.pt` beside the model; the same call goes on from there after a
    kill. Of a finished fit it gives the model again at once; the pipeline removes the file after a
    run without failures.

    Raises:
        UserError: see `train`, `build_model`, `build_loss` and `choose_residency`; the vectors are
            of other genes; the training cells are of one type; memory ran out.
    """
    if processes.size > 1:
        logger.info("training with %d processes", processes.size)
    check_processes(training["batch_size"], processes.size)
    torch.manual_seed(seed)
    hierarchy = Hierarchy.load(hierarchy_folder)
    reachability = hierarchy.reachability
    if control_reachability is not None:
        reachability = np.load(control_reachability)
    weights = pd.read_parquet(types_table)["class_weight"].to_numpy()
    stores = {"train": CellStore.open(train_store), "val": CellStore.open(val_store)}
    stores |= {name: CellStore.open(path) for name, path in monitored_stores.items()}
    genes = stores["train"].genes
    residency = common_residency(
        choose_residency(residency, total_bytes(stores), device, processes.neighbours), processes
    )
    logger.info("the cells stay in: %s", residency)
    dtype = BATCH_DTYPES[training["precision"]]
    vectors = None if augmentation is None else read_vectors(augmentation, len(genes))
    if vectors is not None and len(vectors) == 0:
        logger.warning("no augmentation was possible on these cells: training without")
        vectors = None
    shifts = None if vectors is None else Augmentation(vectors, dtype, device)
    model = build_model(
        model_spec["class"], len(genes), len(hierarchy), **model_spec["arguments"]
    ).to(device)
    with explaining_memory(residency, training["batch_size"]):
        batches = {
            name: open_batches(
                store,
                residency,
                training["batch_size"],
                device,
                dtype,
                shifts if name == "train" else None,
                takes_sparse(model),
            )
            for name, store in stores.items()
        }
    _check_classes(batches["train"].labels.numpy(), hierarchy)
    for source in batches.values():
        source.part = (processes.rank, processes.size)
    logger.info("cells: %s", {name: len(cells) for name, cells in batches.items()})

    loss = build_loss(
        loss_spec["class"],
        torch.from_numpy(reachability),
        torch.from_numpy(weights),
        **loss_spec["arguments"],
    ).to(device)
    recipe = Recipe(
        max_epochs=training["max_epochs"],
        patience=training["patience"],
        max_gradient_norm=training["max_gradient_norm"],
        **model_spec["optimizer"],
        **model_spec["schedule"],
    )
    made_of = {
        "model": model_spec,
        "loss": loss_spec,
        "training": training,
        "seed": seed,
        "order": "streamed" if residency == "disk" else "global",
        "augmentation": None if vectors is None else _sha256(vectors),
        "shards": {name: store.manifest["shards"] for name, store in stores.items()},
        "labels": {name: _sha256(cells.labels.numpy()) for name, cells in batches.items()},
        "genes": genes["feature_id"].tolist(),
        "reachability": reachability.tolist(),
        "class_weights": weights.tolist(),
        "processes": processes.size,
        "software": f"hce {__version__}, torch {torch.__version__}",
    }
    checkpoint = Checkpoint(
        Path(model_path).with_name("resume.pt"), fingerprint(made_of), CHECKPOINT_MINUTES
    )

    def on_epoch(history: pd.DataFrame) -> None:
        if processes.rank == 0:
            write_tsv(history, history_path)

    if processes.rank:
        torch.manual_seed(seed + RANK_STRIDE * processes.rank)  # other cells are dropped out there
    with explaining_memory(residency, training["batch_size"]):
        fit = train(
            model,
            loss,
            batches.pop("train"),
            batches.pop("val"),
            recipe,
            seed,
            monitored=batches,
            checkpoint=checkpoint,
            on_epoch=on_epoch,
            processes=processes,
        )
    if processes.rank:
        return
    on_epoch(fit.history)  # a fit that was finished already has had no further epoch
    provenance = {
        "model": dict(model_spec),
        "loss": dict(loss_spec),
        "training": dict(training),
        "seed": seed,
        "best_epoch": fit.best_epoch,
        "data": stores["train"].manifest["provenance"],
    }
    save_model(
        model_path,
        model_spec,
        loss_spec,
        fit.weights,
        genes,
        hierarchy,
        provenance,
        loss_reachability=None if control_reachability is None else reachability,
    )


def _check_classes(labels: np.ndarray, hierarchy: Hierarchy) -> None:
    present = np.unique(labels)
    if len(present) < 2:
        raise UserError(
            f"All training cells are of one type, {hierarchy.labels[present[0]]}: there is nothing "
            "to learn; add studies of other types."
        )


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()
