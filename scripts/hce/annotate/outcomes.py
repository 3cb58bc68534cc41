"""What the back-off answers at each threshold, and whether that is right.

An answer is *right* if the author's label is that term or one below it. It is *wrong* if the two
are not comparable, or if it lies below the label and the study's own vocabulary contradicts it: the
study has a finer label that the answer is or lies below, and did not give it. It is *undecided* if
it lies below the label and nothing contradicts it ("CD4 T cell" for a label "T cell" of a study
that tells no T cells apart).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from hce.batches.in_memory import Batches
from hce.decoding import back_off, below
from hce.models import takes_sparse
from hce.models.trained_model import TrainedModel
from hce.ontology.targets import Targets
from hce.ontology.terms import Terms
from hce.store.categories import codes_of
from hce.store.cell_store import CellStore

THRESHOLDS = np.array(
    [*np.arange(0.1, 0.3, 0.05), *np.arange(0.3, 0.985, 0.02), 0.99, 0.995, 0.999, 0.9999]
)


CPU = torch.device("cpu")
BY_TERM = ("reported", "right", "undecided")
BY_GROUP = ("reported_of", "right_of", "undecided_of", "leaf_of", "depth_of")


@dataclass(frozen=True)
class Outcomes:
    """What is answered at each of T thresholds, by answered term (U) and by group of cells (G).

    Groups are donors or studies. The first three are counts of cells by term, the others by group.

    Attributes:
        thresholds: float64 (T,), ascending.
        cells_of: int64 (G,), cells of each group, with and without an answer.
        reported: int64 (T, U), cells for which the term was answered.
        right: int64 (T, U), those of them for which it is right.
        undecided: int64 (T, U), those of them for which it is undecided.
        reported_of: int64 (T, G), cells with an answer.
        right_of: int64 (T, G), those of them for which it is right.
        undecided_of: int64 (T, G), those of them for which it is undecided.
        leaf_of: int64 (T, G), those of them whose answer is a type without types below it.
        depth_of: int64 (T, G), the sum of the depths of their answers.
    """

    thresholds: np.ndarray
    cells_of: np.ndarray
    reported: np.ndarray
    right: np.ndarray
    undecided: np.ndarray
    reported_of: np.ndarray
    right_of: np.ndarray
    undecided_of: np.ndarray
    leaf_of: np.ndarray
    depth_of: np.ndarray

    @property
    def cells(self) -> int:
        """Number of cells, with and without an answer."""
        return int(self.cells_of.sum())

    @property
    def decided_of(self) -> np.ndarray:
        """Cells of each group that are right or wrong, int64 (T, G)."""
        return self.reported_of - self.undecided_of

    @classmethod
    def pooled(cls, parts: Sequence["Outcomes"]) -> "Outcomes":
        """The outcomes of several sets of cells, of groups of their own."""
        sums = [sum(getattr(part, name) for part in parts) for name in BY_TERM]
        joined = [np.concatenate([getattr(p, name) for p in parts], axis=1) for name in BY_GROUP]
        cells_of = np.concatenate([part.cells_of for part in parts])
        return cls(parts[0].thresholds, cells_of, *sums, *joined)

    def without(self, group: int) -> "Outcomes":
        """The outcomes of the other groups; those by term stay those of all."""
        return self.of_groups(np.arange(len(self.cells_of)) != group)

    def of_groups(self, kept: np.ndarray) -> "Outcomes":
        """The outcomes of some groups, positions or bool (G,); those by term stay those of all."""
        rest = {name: getattr(self, name)[:, kept] for name in BY_GROUP}
        return replace(self, cells_of=self.cells_of[kept], **rest)


def donors_of(cells: pd.DataFrame) -> np.ndarray:
    """Numbers the donors, which are unique only within a study; int64 (cells,).

    Raises:
        UserError: a cell has no study or no donor.
    """
    for name in ("study", "donor"):
        codes_of(cells[name].astype("category"), "the validation cells")
    return cells.groupby(["study", "donor"], observed=True, sort=False).ngroup().to_numpy()


def count_outcomes(
    trained: TrainedModel,
    terms: Terms,
    store: CellStore,
    targets: Targets,
    of_cells: np.ndarray,
    groups: np.ndarray,
    batch_size: int,
    device: torch.device,
    thresholds: np.ndarray = THRESHOLDS,
    novel: np.ndarray | None = None,
) -> Outcomes:
    """Applies the back-off to the cells of a store at all thresholds, in one pass.

    Memory does not grow with the number of cells.

    Args:
        trained: the model; moved to the device with its loss.
        terms: what may be answered.
        store: cells over the model's genes.
        targets: which answers the studies leave to their labels, over the terms.
        of_cells: target of each cell, int64 (cells,).
        groups: group of each cell, int64 (cells,), counted from 0.
        batch_size: cells per batch.
        device: where the model runs.
        thresholds: float64 (T,), ascending.
        novel: which cells get no answer because they are novel, bool (cells,); None: none.
    """
    trained.to(device)

    def probabilities() -> Iterator[Tensor]:
        for counts in store.blocks():
            nothing = np.zeros(len(counts), np.int64)  # no label is asked for
            batches = Batches(
                *(counts, nothing, len(trained.genes), batch_size, device),
                sparse=takes_sparse(trained.model),
            )
            for expression, _ in batches.in_order():
                yield trained.probabilities(expression)

    found = probabilities()
    return tally_outcomes(found, terms, targets, of_cells, groups, thresholds, novel, device)


@torch.no_grad()
def tally_outcomes(
    probabilities: Iterable[Tensor],
    terms: Terms,
    targets: Targets,
    of_cells: np.ndarray,
    groups: np.ndarray,
    thresholds: np.ndarray = THRESHOLDS,
    novel: np.ndarray | None = None,
    device: torch.device = CPU,
) -> Outcomes:
    """The same for cells whose probabilities are known.

    Args:
        probabilities: of the types, (B, C) of some cells after others, on the device.
        terms: what may be answered.
        targets: which answers the studies leave to their labels, over the terms.
        of_cells: target of each cell, int64 (cells,).
        groups: group of each cell, int64 (cells,), counted from 0.
        thresholds: float64 (T,), ascending.
        novel: which cells get no answer because they are novel, bool (cells,); None: none.
        device: where the probabilities are.
    """
    chosen = torch.from_numpy(terms.answerable).to(device)
    members = torch.from_numpy(terms.members).to(device)[chosen]
    n_groups = int(groups.max(initial=-1)) + 1
    by_term = np.zeros((len(BY_TERM), len(thresholds), len(terms)), dtype=np.int64)
    by_group = np.zeros((len(BY_GROUP), len(thresholds), n_groups), dtype=np.int64)
    leaf, depth = terms.members.sum(axis=1) == 1, terms.table["depth"].to_numpy(np.int64)
    labels = targets.labels[of_cells]
    known = np.ones(len(labels), dtype=bool) if novel is None else ~novel
    start = 0
    for p in probabilities:
        cells = slice(start, start + len(p))
        s = below(p, members)
        for t, threshold in enumerate(thresholds):
            found, reached = back_off(s, members, float(threshold))
            answer = chosen[found].cpu().numpy()
            said = (reached >= threshold).cpu().numpy() & known[cells]
            right, undecided = judge(terms, targets, answer, labels[cells], of_cells[cells])
            for row, mask in zip(by_term, (said, right & said, undecided & said), strict=True):
                row[t] += np.bincount(answer[mask], minlength=len(terms))
            weights = (said, said & right, said & undecided, said & leaf[answer])
            for row, weight in zip(by_group, (*weights, said * depth[answer]), strict=True):
                row[t] += np.bincount(groups[cells], weight, n_groups).astype(np.int64)
        start += len(p)
    cells_of = np.bincount(groups, minlength=n_groups)
    return Outcomes(thresholds, cells_of, *by_term, *by_group)


def judge(
    terms: Terms, targets: Targets, answers: np.ndarray, labels: np.ndarray, of_cells: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which answers are right, and which are undecided; the others are wrong.

    Args:
        terms: what may be answered.
        targets: which answers the studies leave to their labels, over the terms.
        answers: term of each cell, int (n,).
        labels: term of each cell, int (n,).
        of_cells: target of each cell, int64 (n,).

    Returns:
        Two bool (n,).
    """
    right = terms.reachability[answers, labels]
    below_label = terms.reachability[labels, answers] & ~right
    return right, below_label & targets.answers[of_cells, answers]
