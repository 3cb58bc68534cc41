"""One fit from files to files: stores and two catalogue entries to a model and its history."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from hce import __version__
from hce.batches.densify import Augmentation, read_vectors
from hce.batches.in_memory import BatchSource
from hce.batches.part import Part
from hce.batches.placement import (
    choose_residency,
    explaining_memory,
    open_batches,
    total_bytes,
)
from hce.errors import UserError
from hce.files import read_parquet, write_tsv
from hce.losses import HierarchicalLoss, build_loss
from hce.models import build_model, takes_sparse
from hce.models.trained_model import save_model
from hce.ontology import Hierarchy
from hce.ontology.targets import Targets
from hce.store.cell_store import CellStore
from hce.store.stage import stage_stores
from hce.training.checkpoint import Checkpoint, fingerprint
from hce.training.device import BATCH_DTYPES
from hce.training.distributed import OneProcess, check_processes, common_residency
from hce.training.loop import ALONE, Fit, TrainingSpec, train
from hce.training.order import keep_order, order_of

logger = logging.getLogger(__name__)

# What a killed fit loses at most.
CHECKPOINT_MINUTES = 10.0
# Between the random seeds of processes, larger than any seed of a fit.
RANK_STRIDE = 1_000_003


@dataclass(frozen=True)
class FitSpec:
    """What one fit is made of and where its results go: plain values, which travel as JSON.

    Attributes:
        train_store: folder of the training cells.
        val_store: folder of the validation cells.
        hierarchy_folder: of `Hierarchy.load`.
        types_table: table of types with class_weight, in index order.
        model: class, arguments, optimizer, schedule (an entry of the config's models).
        loss: class, arguments (an entry of the config's losses).
        training: the config's training: batch_size, max_epochs, patience, select_by,
            absent_types, max_gradient_norm, precision.
        seed: of initialisation, dropout, augmentation and the order of cells.
        model_path: output, see `models.trained_model`.
        history_path: output, TSV, one row per epoch, written after every epoch.
        monitored_stores: name → folder of further sets to score after every epoch.
        residency: where the cells stay, the config's training.residency.
        memory_mb: what the job was given on its machine, 10^6 bytes; None where nothing says so.
        stage: folder on this machine to which stores are copied before they are streamed, where
            they fit; None: streamed from where they lie.
        order_file: of `keep_order`, shared by the fits that are compared; None for a fit alone.
        augmentation: .npy, float32 (vectors, genes), see `densify.Augmentation`; without vectors
            in it, or with None, cells are not augmented.
        targets: files of `Targets.save`, of each release that has cells here: what the studies'
            labels leave to each other. Without any, study-aware scores are credited ones.
        control_reachability: .npy, bool (C, C), that loss and validation take in place of the
            hierarchy's; see `ontology.controls`. The model file has the hierarchy's beside it.
    """

    train_store: str | Path
    val_store: str | Path
    hierarchy_folder: str | Path
    types_table: str | Path
    model: Mapping[str, Any]
    loss: Mapping[str, Any]
    training: Mapping[str, Any]
    seed: int
    model_path: str | Path
    history_path: str | Path
    monitored_stores: Mapping[str, str | Path] = field(default_factory=dict)
    residency: str = "auto"
    memory_mb: int | None = None
    stage: str | None = None
    order_file: str | Path | None = None
    augmentation: str | Path | None = None
    targets: Sequence[str | Path] = ()
    control_reachability: str | Path | None = None

    @property
    def loop(self) -> TrainingSpec:
        """What the training loop is told."""
        return TrainingSpec(
            max_epochs=self.training["max_epochs"],
            patience=self.training["patience"],
            max_gradient_norm=self.training["max_gradient_norm"],
            select_by=self.training["select_by"],
            absent_types=self.training["absent_types"],
            **self.model["optimizer"],
            **self.model["schedule"],
        )


def fit_model(spec: FitSpec, device: torch.device, processes: OneProcess = ALONE) -> None:
    """Trains a model and writes it with its history.

    The state is kept in `resume.pt` beside the model; the same call goes on from there after a
    kill. For a finished fit it writes the model again at once; the pipeline removes the file after
    a run without failures.

    Args:
        spec: what is fitted.
        device: where to train.
        processes: those that train this fit together; the first one writes.

    Raises:
        UserError: see `train`, `build_model`, `build_loss` and `choose_residency`; the vectors are
            of other genes; the training cells are of one type; memory ran out.
    """
    if processes.world_size > 1:
        logger.info("training with %d processes", processes.world_size)
    check_processes(spec.training["batch_size"], processes.world_size)
    torch.manual_seed(spec.seed)
    data = _open_data(spec, device, processes)
    model, loss = _build(spec, data, device)
    with explaining_memory(data.residency, spec.training["batch_size"]):
        fit = _train(spec, data, model, loss, device, processes)
    if processes.rank == 0:
        _save(spec, data, fit)


@dataclass(frozen=True)
class _Data:
    """What a fit is trained on.

    Attributes:
        stores: train, val and the monitored sets.
        hierarchy: of the types.
        reachability: bool (C, C), that loss and validation take.
        class_weights: float64 (C,).
        targets: see `FitSpec`; without the answers that a control's reachability denies.
        numbers: set → int64 (cells,), the target of each cell.
        vectors: of the augmentation, float32 (vectors, genes), or None.
        residency: where the cells stay.
    """

    stores: Mapping[str, CellStore]
    hierarchy: Hierarchy
    reachability: np.ndarray
    class_weights: np.ndarray
    targets: Targets
    numbers: Mapping[str, np.ndarray]
    vectors: np.ndarray | None
    residency: str

    @property
    def genes(self) -> pd.DataFrame:
        """feature_id and feature_name, in column order."""
        return self.stores["train"].genes


def _open_data(spec: FitSpec, device: torch.device, processes: OneProcess) -> _Data:
    """Opens the stores and decides where their cells stay."""
    hierarchy = Hierarchy.load(spec.hierarchy_folder)
    control = spec.control_reachability
    folders = {"train": spec.train_store, "val": spec.val_store, **spec.monitored_stores}
    stores = {name: CellStore.open(folder) for name, folder in folders.items()}
    chosen = choose_residency(
        spec.residency,
        total_bytes(stores),
        device,
        spec.memory_mb,
        processes.local_world_size,
        processes.world_size // processes.local_world_size,
    )
    residency = common_residency(chosen, processes)
    if spec.order_file is not None:
        residency = keep_order(spec.order_file, spec.residency, residency)
    if residency == "disk" and spec.stage is not None and processes.local_world_size == 1:
        stores = stage_stores(stores, spec.stage)
    reachability = hierarchy.reachability if control is None else np.load(control)
    targets, numbers = _open_targets(spec.targets, stores, reachability)
    return _Data(
        stores=stores,
        hierarchy=hierarchy,
        reachability=reachability,
        targets=targets,
        numbers=numbers,
        class_weights=read_parquet(spec.types_table)["class_weight"].to_numpy(),
        vectors=_read_augmentation(spec.augmentation, len(stores["train"].genes)),
        residency=residency,
    )


def _open_targets(
    paths: Sequence[str | Path], stores: Mapping[str, CellStore], reachability: np.ndarray
) -> tuple[Targets, dict[str, np.ndarray]]:
    """The targets, and their numbers for the cells of each set."""
    if not paths:
        numbers = {
            name: store.cells(["label"])["label"].to_numpy(np.int64)
            for name, store in stores.items()
        }
        return Targets.unrestricted(reachability), numbers
    targets, numbers = Targets.load(*paths), {}
    for name, store in stores.items():
        cells = store.cells(["study", "label"])
        release = store.manifest["provenance"]["release"]
        numbers[name] = targets.of_cells(release, cells["study"], cells["label"].to_numpy())
    return targets.within(reachability), numbers


def _read_augmentation(path: str | Path | None, n_genes: int) -> np.ndarray | None:
    vectors = None if path is None else read_vectors(path, n_genes)
    if vectors is not None and len(vectors) == 0:
        logger.warning("no augmentation was possible on these cells: training without")
        return None
    return vectors


def _build(spec: FitSpec, data: _Data, device: torch.device) -> tuple[nn.Module, HierarchicalLoss]:
    """The model and the loss, on the device."""
    n_genes, n_types = len(data.genes), len(data.hierarchy)
    model = build_model(spec.model["class"], n_genes, n_types, **spec.model["arguments"])
    loss = build_loss(
        spec.loss["class"],
        torch.from_numpy(data.reachability),
        torch.from_numpy(data.class_weights),
        **spec.loss["arguments"],
    )
    if loss.by_study:
        loss.take_targets(
            torch.from_numpy(data.targets.labels), torch.from_numpy(data.targets.answers)
        )
    return model.to(device), loss.to(device)


def _train(
    spec: FitSpec,
    data: _Data,
    model: nn.Module,
    loss: HierarchicalLoss,
    device: torch.device,
    processes: OneProcess,
) -> Fit:
    """Loads the cells and trains, going on from a checkpoint if there is one of this fit."""
    carried = _carried(data, loss)
    batches = _open_batches(spec, data, carried, takes_sparse(model), device, processes)
    identity = _identity(spec, data, carried, processes)
    checkpoint = Checkpoint(
        Path(spec.model_path).with_name("resume.pt"), identity, CHECKPOINT_MINUTES
    )

    def on_epoch(history: pd.DataFrame) -> None:
        if processes.rank == 0:
            write_tsv(history, spec.history_path)

    if processes.rank:  # other cells are dropped out there
        torch.manual_seed(spec.seed + RANK_STRIDE * processes.rank)
    fit = train(
        model,
        loss,
        batches.pop("train"),
        batches.pop("val"),
        spec.loop,
        spec.seed,
        targets=data.targets,
        monitored=batches,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
        processes=processes,
    )
    on_epoch(fit.history)  # a fit that was finished already has had no further epoch
    return fit


def _carried(data: _Data, loss: HierarchicalLoss) -> dict[str, np.ndarray]:
    """Set → int64 (cells,), what its batches carry.

    That is targets; but training cells carry labels where the loss does not ask for studies.
    """
    labels = data.targets.labels[data.numbers["train"]].astype(np.int64)
    _check_classes(labels, data.hierarchy)
    return dict(data.numbers) if loss.by_study else {**data.numbers, "train": labels}


def _open_batches(
    spec: FitSpec,
    data: _Data,
    carried: Mapping[str, np.ndarray],
    sparse: bool,
    device: torch.device,
    processes: OneProcess,
) -> dict[str, BatchSource]:
    """Set → its cells as batches, this process's part of each."""
    dtype = BATCH_DTYPES[spec.training["precision"]]
    shifts = None if data.vectors is None else Augmentation(data.vectors, dtype, device)
    part = Part(processes.rank, processes.world_size, spec.seed)
    batches = {
        name: open_batches(
            store,
            data.residency,
            spec.training["batch_size"],
            device,
            dtype,
            shifts if name == "train" else None,
            sparse,
            carried[name],
            part,
        )
        for name, store in data.stores.items()
    }
    logger.info("cells: %s", {name: len(cells) for name, cells in batches.items()})
    return batches


def _check_classes(labels: np.ndarray, hierarchy: Hierarchy) -> None:
    present = np.unique(labels)
    if len(present) < 2:
        raise UserError(
            f"All training cells are of one type, {hierarchy.labels[present[0]]}: there is nothing "
            "to learn; add studies of other types."
        )


def _identity(
    spec: FitSpec, data: _Data, carried: Mapping[str, np.ndarray], processes: OneProcess
) -> str:
    """Tells this fit from others whose checkpoint may lie in its place."""
    return fingerprint(
        {
            "model": spec.model,
            "loss": spec.loss,
            "training": spec.training,
            "seed": spec.seed,
            "order": order_of(data.residency),
            "augmentation": None if data.vectors is None else _sha256(data.vectors),
            "shards": {name: store.manifest["shards"] for name, store in data.stores.items()},
            "labels": {name: _sha256(numbers) for name, numbers in carried.items()},
            "targets": [_sha256(data.targets.labels), _sha256(data.targets.answers)],
            "genes": data.genes["feature_id"].tolist(),
            "reachability": data.reachability.tolist(),
            "class_weights": data.class_weights.tolist(),
            "processes": processes.world_size,
            "software": f"hce {__version__}, torch {torch.__version__}",
        }
    )


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def _save(spec: FitSpec, data: _Data, fit: Fit) -> None:
    """Writes the model file."""
    provenance = {
        "model": dict(spec.model),
        "loss": dict(spec.loss),
        "training": dict(spec.training),
        "seed": spec.seed,
        "best_epoch": fit.best_epoch,
        "residency": data.residency,
        "order": order_of(data.residency),
        "data": data.stores["train"].manifest["provenance"],
    }
    mean_reachability = None
    if spec.targets:
        every = Targets.load(*spec.targets)  # also what a control's reachability denies
        mean_reachability = every.mean_reachability(
            data.numbers["train"], data.hierarchy.reachability
        )
    save_model(
        spec.model_path,
        spec.model,
        spec.loss,
        fit.weights,
        data.genes,
        data.hierarchy,
        provenance,
        loss_reachability=None if spec.control_reachability is None else data.reachability,
        mean_reachability=mean_reachability,
    )
