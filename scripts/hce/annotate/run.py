"""Annotates a user's cells with a model, block by block."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from hce import __version__
from hce.annotate.annotator import Annotator
from hce.annotate.labels import (
    PREFIX,
    Reader,
    Vote,
    columns,
    is_own,
    levels_of,
    restriction,
)
from hce.annotate.markers import check_markers, unmarked
from hce.annotate.novelty import Novelty, add_shares
from hce.batches.densify import Densifier
from hce.decoding import Decoder
from hce.errors import UserError
from hce.inputs.cells import Cells, Place, checked_blocks
from hce.inputs.counts import Choice, choose_counts
from hce.inputs.genes import MIN_SHARE, GeneMatch, find_genes, match_genes
from hce.progress import Progress
from hce.store.counts import MAX_COUNT, TARGET_TOTAL, Counts

logger = logging.getLogger(__name__)

# Cells made dense at a time: 80 MB at 20,000 genes.
BATCH_CELLS = 1024
OBSM_KEY = "hce_probabilities"
UNS_KEY = "hce"
# Beyond any count; compiled code adds the counts of a cell in 64 bits.
LARGEST_COUNT = 2**31 - 1
# What cells without counts get, by kind of value.
MISSING = {"f": np.nan, "i": -1, "b": False}
VOTE_PREFIX = PREFIX + "vote_"


@dataclass(frozen=True)
class Options:
    """What to annotate, and how.

    Attributes:
        probability: the calibrated precision of the back-off; None: no back-off.
        layer: where the raw counts are ("X", "raw" or a layer); None: searched for.
        types: CL ids or labels of the plausible types; None: all.
        vote: column of obs whose clusters vote; None: no vote.
        probabilities: whether to keep the probabilities of all types.
        overwrite: whether to replace columns of an earlier annotation.
        device: "auto", "cpu", "cuda" or "cuda:N".
        rounded: whether fractions of counts are rounded, see `choose_counts`.
        panel: whether fewer than half of the model's genes are enough.
        levels: CL ids or labels of terms, of which the back-off gives one in a column of its own.
        depths: for each, the back-off gives a term of at most this depth in a column of its own.
    """

    probability: float | None = 0.9
    layer: str | None = None
    types: Sequence[str] | None = None
    vote: str | None = None
    probabilities: bool = False
    overwrite: bool = False
    device: str = "auto"
    rounded: bool = False
    panel: bool = False
    levels: Sequence[str] = ()
    depths: Sequence[int] = ()


@dataclass(frozen=True)
class Annotation:
    """The annotation of cells by a model.

    Attributes:
        obs: columns for obs, see `labels.columns`.
        probabilities: float32 (cells, C), or None.
        uns: provenance, as plain values.
        genes: how the genes were matched.
    """

    obs: pd.DataFrame
    probabilities: np.ndarray | None
    uns: Mapping[str, Any]
    genes: GeneMatch


def annotate_cells(
    cells: Cells,
    annotator: Annotator,
    options: Options,
    scratch: Path | None = None,
    progress: type[Progress] = Progress,
) -> Annotation:
    """Annotates cells; the memory does not grow with their counts.

    Args:
        cells: see `inputs`.
        annotator: the model.
        options: what to annotate.
        scratch: a folder for the probabilities, which are then on disk and not in memory.
        progress: reports progress, like `Progress`.

    Raises:
        UserError: counts or genes are not found, a value is not a count, no cell has counts, the
            columns already exist, or an option does not fit the cells or the model.
    """
    check_new(cells, options)
    trained = annotator.trained
    device = choose_device(options.device)
    reader = reader_of(annotator, options, device)
    choice, genes = open_counts(cells, annotator, options)

    trained.to(device)
    novelty = novelty_of(annotator, genes)
    vote = None
    if options.vote is not None:
        n_genes = 0 if novelty is None else len(trained.genes)
        vote = Vote.over(cells.obs[options.vote], len(trained.types), n_genes)
    kept = None
    if options.probabilities:
        kept = _matrix((len(cells), len(trained.types)), scratch)

    parts: dict[str, list[np.ndarray]] = {}
    densify = Densifier(len(trained.genes), BATCH_CELLS)
    done = progress(cells.file, len(cells))
    for start, counts in batches_of(choice.place, genes.gene_of):
        found = predict_batch(trained, counts, densify, device)
        probabilities = reader.restricted(found)
        read = reader.read(probabilities)
        if novelty is not None:
            read |= novelty.read(counts, found)
        is_empty = np.diff(counts.indptr) == 0
        for name, values in read.items():
            values[is_empty] = MISSING[values.dtype.kind]
            parts.setdefault(name, []).append(values)
        if vote is not None or kept is not None:
            rows, position = probabilities.cpu().numpy(), start + np.arange(len(counts))
            if vote is not None:
                vote.add(position[~is_empty], rows[~is_empty])
                if novelty is not None:
                    add_shares(counts, vote.codes[position], vote.genes)
            if kept is not None:
                rows[is_empty] = np.nan
                kept[position] = rows
        done.advance(len(counts))
    done.end()
    read = {name: np.concatenate(values) for name, values in parts.items()}
    empty = int((read["type"] < 0).sum())
    _check_empty(cells, empty)
    terms = annotator.answers
    obs = columns(read, terms, cells.obs.index)
    if vote is not None:
        voted = vote.result(reader)
        if novelty is not None:
            voted |= novelty.of_clusters(read["novelty"], vote.codes)
            voted |= _without_markers(annotator, vote, voted, genes)
        obs = pd.concat([obs, columns(voted, terms, cells.obs.index, VOTE_PREFIX)], axis=1)
    uns = _provenance(annotator, options, reader.threshold, choice, genes, empty)
    if novelty is not None:
        uns |= {"novelty_threshold": novelty.threshold, "few_genes": novelty.few_genes}
    return Annotation(obs, kept, uns, genes)


def _without_markers(
    annotator: Annotator, vote: Vote, voted: Mapping[str, np.ndarray], genes: GeneMatch
) -> dict[str, np.ndarray]:
    """Whether the cluster of each cell shows none of the genes that mark its answer."""
    if "back_off" not in voted:
        return {}
    answers = np.full(len(vote.cells), -1)
    answers[vote.codes[vote.codes >= 0]] = voted["back_off"][vote.codes >= 0]
    sums = TARGET_TOTAL * vote.genes
    checked = check_markers(annotator, answers, sums, vote.cells, genes.found_at)
    return {"unmarked": np.append(unmarked(checked, len(answers)), False)[vote.codes]}


def batches_of(place: Place, gene_of: np.ndarray) -> Iterator[tuple[int, Counts]]:
    """The counts of the model's genes, so many cells at a time, with the position of the first.

    Raises:
        UserError: a value is not a count.
    """
    start = 0
    for block in checked_blocks(place, largest=LARGEST_COUNT):
        counts = counts_of(block, gene_of)
        for first in range(0, len(counts), BATCH_CELLS):
            yield start + first, counts.slice(first, min(first + BATCH_CELLS, len(counts)))
        start += len(counts)


def novelty_of(annotator: Annotator, genes: GeneMatch) -> Novelty | None:
    """How novelty is told for these genes; None if the model cannot, or for too few of them."""
    if annotator.novelty is None or genes.found < MIN_SHARE * genes.wanted:
        return None
    found = np.zeros(genes.n_genes, dtype=bool)
    found[genes.found_at] = True
    return annotator.novelty.among(found)


def reader_of(annotator: Annotator, options: Options, device: torch.device) -> Reader:
    """How a model's probabilities are read, on a device.

    Raises:
        UserError: an option does not fit the model.
    """
    threshold = None if options.probability is None else annotator.threshold(options.probability)
    terms = annotator.answers
    allowed = None if options.types is None else restriction(terms, options.types)
    levels = levels_of(terms, options.levels, options.depths)
    if len(levels) > 1 and threshold is None:
        raise UserError("Levels are answered by the back-off: leave them out, or give it.")
    return Reader(
        torch.from_numpy(terms.members).to(device),
        threshold,
        None if allowed is None else torch.from_numpy(allowed).to(device),
        Decoder.named(annotator.decoder),
        {name: torch.from_numpy(chosen).to(device) for name, chosen in levels.items()},
    )


def open_counts(cells: Cells, annotator: Annotator, options: Options) -> tuple[Choice, GeneMatch]:
    """Finds the counts of cells and the genes of a model in them, and says what was found.

    Raises:
        UserError: see `choose_counts` and `match_genes`.
    """
    genes, panel = annotator.trained.genes, annotator.panel
    choice = choose_counts(
        cells,
        options.layer,
        rounded=options.rounded,
        genes_of=lambda var: find_genes(var, genes, panel).found,
    )
    logger.info("%s", choice.report())
    match = match_genes(
        choice.place.var,
        genes,
        f"File {cells.file}",
        min_share=1 / max(len(genes), 1) if options.panel else MIN_SHARE,
        wanted=panel,
    )
    if match.found < MIN_SHARE * match.wanted:
        logger.warning(
            "A panel with %d of the model's %d genes is annotated: types that the other genes tell "
            "apart are mixed up, and the calibrated precision, which holds for all genes, does not "
            "hold.",
            match.found,
            match.wanted,
        )
    return choice, match


def choose_device(name: str) -> torch.device:
    """Finds a device by name; unlike in training, no settings of the process are changed.

    Args:
        name: "auto" (a GPU if there is one, otherwise the CPU), "cpu", "cuda" or "cuda:N".

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"There is no device {name!r}: give auto, cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and not (device.index or 0) < torch.cuda.device_count():
        raise UserError(
            f"Device {name} is not available: torch {torch.__version__} does not see it."
        )
    return device


def check_new(cells: Cells, options: Options) -> None:
    """Checks the columns of obs: the one to vote over exists, and the new ones do not.

    Raises:
        UserError: a column is missing or exists already.
    """
    if options.vote is not None and options.vote not in cells.obs:
        raise UserError(
            f"File {cells.file} has no obs column {options.vote!r} to vote over; it has "
            f"{', '.join(map(str, cells.obs)) or 'none'}."
        )
    old = [name for name in cells.obs if is_own(name)]
    if old and not options.overwrite:
        raise UserError(
            f"File {cells.file} has the column {old[0]} of an earlier annotation: rename it, or "
            "allow it to be overwritten."
        )


def counts_of(block: sp.csr_matrix, gene_of: np.ndarray) -> Counts:
    """The counts of the model's genes in a block; columns without a gene are left out."""
    genes = gene_of[block.indices]
    kept = (genes >= 0) & (block.data > 0)
    ends = np.concatenate([[0], np.cumsum(kept)])
    values = block.data[kept]
    return Counts(
        ends[block.indptr].astype(np.int64),
        genes[kept].astype(np.uint16),
        values.astype(np.uint16 if values.max(initial=0) <= MAX_COUNT else np.uint32),
    )


@torch.no_grad()
def predict_batch(
    trained: Any, counts: Counts, densify: Densifier, device: torch.device
) -> torch.Tensor:
    """Probabilities (b, C) of cells."""
    return trained.probabilities(densify(counts, np.arange(len(counts)), None).to(device))


def _matrix(shape: tuple[int, int], scratch: Path | None) -> np.ndarray:
    if scratch is None:
        return np.empty(shape, dtype=np.float32)
    return np.lib.format.open_memmap(scratch / "probabilities.npy", "w+", np.float32, shape)


def _check_empty(cells: Cells, empty: int) -> None:
    if empty == len(cells):
        raise UserError(
            f"No cell of file {cells.file} has counts of the model's genes: check the file."
        )
    if empty:
        logger.warning("%d cells have no counts of the model's genes and are unknown.", empty)


def _provenance(
    annotator: Annotator,
    options: Options,
    threshold: float | None,
    choice: Choice,
    genes: GeneMatch,
    empty: int,
) -> dict[str, Any]:
    """The entry in uns, as plain values that every reader of the format supports."""
    trained = annotator.trained
    found: dict[str, Any] = {
        "software": f"hce {__version__}",
        "model": annotator.fingerprint,
        "decoder": annotator.decoder,
        "trained": json.dumps(trained.provenance, sort_keys=True),
        "types": trained.types["label"].tolist(),
        "type_ids": trained.types["cl_id"].tolist(),
        "counts": choice.place.name,
        "counts_kind": choice.kind,
        "counts_rounded": choice.place.rounded,
        "counts_others": [f"{name}: {what}" for name, what in choice.others.items()],
        "genes_found": genes.found,
        "genes_missing": list(genes.missing),
        "genes_repeated": list(genes.repeated),
        "empty_cells": empty,
    }
    if threshold is not None:
        found |= {
            "probability": options.probability,
            "back_off_threshold": threshold,
            "back_off_reliability": annotator.promise(float(options.probability or 0)),
        }
    if genes.found < MIN_SHARE * genes.n_genes:
        found["panel"] = True
    if options.types is not None:
        found["restricted_to"] = list(options.types)
    if options.vote is not None:
        found["vote_over"] = options.vote
    return found
