"""Prints the probabilities of cells along the ontology as a tree, and describes models."""

from collections.abc import Sequence

import numpy as np
import torch

from hce.annotate.annotator import Annotator
from hce.annotate.calibration import STUDIES
from hce.annotate.names import term_number
from hce.annotate.run import (
    BATCH_CELLS,
    Options,
    batches_of,
    choose_device,
    open_counts,
    predict_batch,
)
from hce.batches.densify import Densifier
from hce.errors import UserError
from hce.inputs.cells import Cells
from hce.models.trained_model import TrainedModel

# Types below this s are not shown.
SHOWN = 0.01
BAR = 20
# What `describe` calls the sets; others are the new studies.
SETS_SHOWN = {"val": "validation cells", "id": "held-out cells"}
# What `describe` shows of the training data.
DATA_SHOWN = ("release", "set", "uri", "simulated")


def explain_type(annotator: Annotator, name: str) -> str:
    """Where a type, or a term above the types, is in a model: what is above it and below it.

    Raises:
        UserError: the model has no such term.
    """
    terms = annotator.answers
    number = term_number(terms, name)
    above = np.flatnonzero(terms.reachability[:, number])
    lines = [f"{terms.labels[number]} ({terms.table['cl_id'][number]})"]
    others = [terms.labels[i] for i in above if i != number]
    lines.append(f"below: {', '.join(others)}" if others else "no type of the model is above it")
    return "\n".join([*lines, *tree(terms.reachability, terms.labels, terms.reachability[number])])


def explain_cell(annotator: Annotator, cells: Cells, name: str, layer: str | None = None) -> str:
    """The probabilities of a cell by its name in obs, or the mean over the cells of a type.

    Args:
        annotator: the model.
        cells: the cells.
        name: name of a cell, or label or CL id of a type; for a type, the cells whose most
            probable type is this one or one below it.
        layer: see `choose_counts`.

    Raises:
        UserError: there is neither such a cell nor such a type, no cell has the type, or the
            cell has no counts of the model's genes.
    """
    number = None
    rows = np.flatnonzero(cells.obs.index.astype(str) == name)
    if not len(rows):
        try:
            number = term_number(annotator.answers, name)
        except UserError as error:
            raise UserError(f"File {cells.file} has no cell {name!r}. {error}") from error
    total, count = _sum_probabilities(annotator, cells, layer, rows, number)
    if not count and number is None:
        raise UserError(f"Cell {name!r} of {cells.file} has no counts of the model's genes.")
    if not count:
        raise UserError(f"No cell of {cells.file} is annotated as {name!r}.")
    p = total / count
    terms = annotator.answers
    s = terms.members @ p
    title = f"{name}: " + ("one cell" if number is None else f"mean of {count:,} cells")
    own = [f"p {p[i]:6.1%}" if i < len(p) else " " * 8 for i in range(len(terms))]
    notes = [f"s {s[i]:6.1%}  {own[i]}  {'#' * round(BAR * s[i])}" for i in range(len(terms))]
    drawn = tree(terms.reachability, terms.labels, s >= SHOWN, notes)
    return "\n".join([title, *drawn])


@torch.no_grad()
def _sum_probabilities(
    annotator: Annotator, cells: Cells, layer: str | None, rows: np.ndarray, number: int | None
) -> tuple[np.ndarray, int]:
    """Sum of the probabilities of a cell or of all cells of a type, and the number of cells.

    As in an annotation, cells without counts of the model's genes are left out.
    """
    trained = annotator.trained
    choice, genes = open_counts(cells, annotator, Options(layer=layer))
    device = choose_device("auto")
    trained.to(device)
    densify = Densifier(len(trained.genes), BATCH_CELLS)
    total, count = np.zeros(len(trained.types)), 0
    for start, counts in batches_of(choice.place, genes.gene_of):
        cells_of = np.flatnonzero(np.diff(counts.indptr) > 0)
        if number is None:
            cells_of = cells_of[start + cells_of == rows[0]]
        if len(cells_of):
            p = predict_batch(trained, counts.take(cells_of), densify, device)
            found = p.double().cpu().numpy()
            if number is not None:
                found = found[annotator.answers.members[number, found.argmax(axis=1)]]
            total, count = total + found.sum(axis=0), count + len(found)
    return total, count


def tree(
    reachability: np.ndarray,
    labels: Sequence[str],
    shown: np.ndarray,
    notes: Sequence[str] | None = None,
) -> list[str]:
    """Draws types as a tree; a type with two parents is shown below each.

    Args:
        reachability: bool (C, C).
        labels: labels of the types.
        shown: bool (C,), the types to draw.
        notes: text to the right of each type.

    Returns:
        The lines of the tree.
    """
    members = np.flatnonzero(shown)
    strict = reachability[np.ix_(members, members)] & ~np.eye(len(members), dtype=bool)
    direct = strict & ~((strict.astype(int) @ strict) > 0)
    lines: list[tuple[str, int]] = []

    def draw(node: int, indent: str, branch: str) -> None:
        lines.append((indent + branch + labels[members[node]], node))
        below = np.flatnonzero(direct[node]).tolist()
        deeper = indent + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        for child in below:
            draw(child, deeper, "└─ " if child == below[-1] else "├─ ")

    for root in np.flatnonzero(~direct.any(axis=0)).tolist():
        draw(root, "", "")
    if notes is None:
        return [text for text, _ in lines]
    width = max((len(text) for text, _ in lines), default=0)
    return [f"{text:<{width}}  {notes[members[node]]}".rstrip() for text, node in lines]


def describe(annotator: Annotator, types: bool = False) -> str:
    """Describes a model file, for `hce models`.

    Args:
        annotator: the model.
        types: whether to list the types as a tree.
    """
    trained = annotator.trained
    provenance = trained.provenance
    size = sum(parameter.numel() for parameter in trained.model.parameters())
    data = provenance.get("data", {})
    told = ", ".join(f"{key} {data[key]}" for key in DATA_SHOWN if key in data)
    lines = [
        f"model:       {provenance['model']['class']}, {size:,} weights",
        f"loss:        {provenance['loss']['class']}",
        f"decoder:     {annotator.decoder}",
        f"types:       {len(trained.types)}",
        f"genes:       {len(trained.genes):,}, such as {_first_gene(trained)}{_panel(annotator)}",
        f"data:        {told or 'not recorded'}",
    ]
    scores = annotator.scores
    if len(scores):
        wanted = scores[(scores["score"] == "credited_macro_f1") & (scores["decoder"] == "argmax")]
        of_sets = ", ".join(
            f"{s} {v:.3f}" for s, v in zip(wanted["set"], wanted["value"], strict=True)
        )
        lines.append(f"scores:      credited macro F1 {of_sets}")
    lines += [*_calibration(annotator), *_withheld(annotator), *_comparison(annotator)]
    if types:
        everything = np.ones(len(trained.types), dtype=bool)
        lines += ["", *tree(trained.reachability, trained.types["label"].tolist(), everything)]
    return "\n".join(lines)


def _panel(annotator: Annotator) -> str:
    if annotator.panel is None:
        return ""
    return f"; calibrated for the {annotator.panel.sum():,} on a panel, and reads no others"


def _calibration(annotator: Annotator) -> list[str]:
    """What is known of the back-off at each calibrated precision, a line for each set."""
    kept = annotator.calibrated_precision.dropna(subset="threshold")
    if kept.empty:
        return ["precision:   none calibrated: annotate without back-off"]
    lines = []
    for row in kept.to_dict("records"):
        lines.append(
            f"precision:   {row['asked']:g} calibrated on {row['units']:,} {row['basis']} at "
            f"s ≥ {row['threshold']:g}"
        )
        found = annotator.reliability
        for of_set in found[found["asked"] == row["asked"]].to_dict("records"):
            name = SETS_SHOWN.get(of_set["set"], f"{of_set['studies']:g} new studies")
            lines.append(
                f"             {name}: {of_set['coverage']:.0%} of the cells get an answer, "
                f"{of_set['right']:.1%} of the decided ones right, {of_set['undecided']:.0%} "
                f"undecided, mean depth {of_set['depth']:.1f}"
            )
    if (kept["basis"] != STUDIES).any():
        lines.append(
            "             There are too few new studies to promise a precision on others; there it "
            "is lower."
        )
    return lines


def _withheld(annotator: Annotator) -> list[str]:
    """The terms that are never answered."""
    terms = annotator.answers
    names = ", ".join(terms.labels[position] for position in terms.withheld)
    told = f"withheld:    {names} (more often wrong than right on validation cells)"
    return [told] if names else []


def _comparison(annotator: Annotator) -> list[str]:
    """The models and decoders that this one was chosen from."""
    rows = annotator.comparison.to_dict("records")
    if not rows:
        return []
    lines = [
        f"chosen:      by mean hierarchical F1 over {rows[0]['units']} {rows[0]['basis']}",
        *(
            f"             {row['hierarchical_f1']:.3f}  {row['model']} {row['loss']}, decoder "
            f"{row['decoder']}"
            for row in rows
        ),
    ]
    return lines


def _first_gene(trained: TrainedModel) -> str:
    gene = trained.genes.iloc[0]
    return f"{gene['feature_name']} ({gene['feature_id']})"
