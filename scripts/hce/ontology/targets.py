"""Targets: numbered pairs of a study and a label, each with the right answers for it.

Of the restricted reachabilities R_k (see `vocabularies`), only the rows of labels that a study uses
are needed. They are numbered once, and study-aware scores and training use these numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hce.errors import UserError
from hce.files import atomic_path
from hce.ontology.hierarchy import Hierarchy, Ontology
from hce.ontology.vocabularies import relate, restrict


@dataclass(frozen=True)
class Targets:
    """The targets, numbered from 0, and the right answers for each.

    Attributes:
        studies: (release, study) of each row of `numbers`.
        numbers: int32 (S, C), number of the target of a study and a type, −1 if the study has no
            such cells.
        labels: int64 (T,), the type of the label.
        answers: bool (T, C), the row of R_k for the label.
    """

    studies: Sequence[tuple[str, str]]
    numbers: np.ndarray
    labels: np.ndarray
    answers: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def unrestricted(cls, reachability: np.ndarray) -> "Targets":
        """Targets without studies: the number is the label, and the answers are R."""
        every = np.arange(len(reachability))
        return cls([], np.empty((0, len(every)), np.int32), every, reachability)

    @classmethod
    def build(
        cls,
        vocabularies: pd.DataFrame,
        hierarchy: Hierarchy,
        ontology: Ontology,
        min_cells: int = 1,
        lenders: Mapping[tuple[str, str], tuple[str, str]] | None = None,
    ) -> "Targets":
        """Numbers the targets of all studies.

        Args:
            vocabularies: see `make_table`.
            hierarchy: the types.
            ontology: the ontology of the terms of the vocabularies, including those that are not
                types.
            min_cells: a term with fewer cells in a study is not part of its vocabulary; its cells
                are still used for training and scores.
            lenders: (release, study) → the study whose vocabulary it takes; by default its own.
        """
        codes, terms = pd.factorize(vocabularies["cl_id"])
        above, below = relate(terms.tolist(), hierarchy, ontology)
        types = _types_of(vocabularies, hierarchy, ontology)
        counted = (vocabularies["cells"] >= min_cells).to_numpy()
        studies: list[tuple[str, str]] = []
        numbers, labels, answers = [], [], []
        size = 0
        table = vocabularies.reset_index(drop=True)
        groups: Mapping[Any, Any] = table.groupby(["release", "study"]).indices
        for key, rows in groups.items():
            lent = rows if lenders is None else groups[lenders[key]]
            used = codes[lent[counted[lent]]]
            own = np.unique(types[:, rows][types[:, rows] >= 0])
            number = np.full(len(hierarchy), -1, dtype=np.int32)
            number[own] = size + np.arange(len(own))
            size += len(own)
            release, study = np.asarray(key).tolist()
            studies.append((release, study))
            numbers.append(number)
            labels.append(own)
            answers.append(restrict(hierarchy.reachability, above[used], below[used])[own])
        return cls(studies, np.stack(numbers), np.concatenate(labels), np.concatenate(answers))

    @classmethod
    def load(cls, *paths: str | Path) -> "Targets":
        """Reads targets written by `save`: of one release, or of several, numbered through."""
        studies: list[tuple[str, str]] = []
        numbers, labels, answers = [], [], []
        size = 0
        for path in paths:
            with np.load(path) as arrays:
                studies += zip(arrays["releases"].tolist(), arrays["studies"].tolist(), strict=True)
                own = arrays["numbers"]
                numbers.append(np.where(own < 0, own, own + np.int32(size)))
                labels.append(arrays["labels"])
                answers.append(np.unpackbits(arrays["answers"], axis=1, count=own.shape[1]))
                size += len(labels[-1])
        right = np.concatenate(answers).astype(bool)
        return cls(studies, np.concatenate(numbers), np.concatenate(labels), right)

    def save(self, path: str | Path) -> None:
        """Writes an .npz file, atomically; the answers as bits."""
        with atomic_path(path) as temporary:
            np.savez_compressed(
                temporary,
                releases=np.array([release for release, _ in self.studies], dtype=str),
                studies=np.array([study for _, study in self.studies], dtype=str),
                numbers=self.numbers,
                labels=self.labels,
                answers=np.packbits(self.answers, axis=1),
            )

    def of_cells(self, release: str, studies: pd.Series, labels: np.ndarray) -> np.ndarray:
        """The target of each cell, int64 (n,).

        Args:
            release: release of the cells.
            studies: study of each cell.
            labels: type index of each cell.

        Raises:
            UserError: the vocabularies lack the study or the label.
        """
        codes, names = pd.factorize(studies)
        rows = {study: row for row, study in enumerate(self.studies)}
        # Cells without a study have the code −1, which is the last row here.
        row_of = np.array([*(rows.get((release, str(name)), -1) for name in names), -1])[codes]
        found = np.where(row_of < 0, -1, self.numbers[row_of, labels]).astype(np.int64)
        if (found < 0).any():
            cell = int(np.argmax(found < 0))
            raise UserError(
                f"The vocabularies of release {release} have no cells of study "
                f"{studies.iloc[cell]} with the type number {labels[cell]}, but there are such "
                "cells: delete cells/vocabularies in the folder of the data and run again."
            )
        return found

    def within(self, reachability: np.ndarray) -> "Targets":
        """The same targets, with only those answers that another reachability, bool (C, C), has."""
        answers = self.answers & reachability[self.labels]
        return Targets(self.studies, self.numbers, self.labels, answers)

    def mean_reachability(self, used: np.ndarray, reachability: np.ndarray) -> np.ndarray:
        """R̄: the mean of R_k over the studies that use a label.

        Args:
            used: numbers of the targets to average over, each once.
            reachability: bool (C, C), used for labels that no study uses.

        Returns:
            float32 (C, C).
        """
        used = np.unique(used)
        studies = np.bincount(self.labels[used], minlength=len(reachability))[:, None]
        sums = np.zeros(reachability.shape)
        np.add.at(sums, self.labels[used], self.answers[used])
        mean = np.where(studies > 0, sums / np.maximum(studies, 1), reachability)
        return mean.astype(np.float32)


def _types_of(vocabularies: pd.DataFrame, hierarchy: Hierarchy, ontology: Ontology) -> np.ndarray:
    """Type index of each row by its label and by its term, int64 (2, rows); −1 for no type.

    Which of the two a cell of the term has depends on `curation.match`.
    """
    by_label = {label: index for index, label in enumerate(hierarchy.labels)}
    by_term = {ontology.current(term): i for i, term in enumerate(hierarchy.types["cl_id"])}
    by_term.pop(None, None)
    return np.array(
        [
            [by_label.get(label, -1) for label in vocabularies["label"]],
            [by_term.get(ontology.current(term), -1) for term in vocabularies["cl_id"]],
        ],
        dtype=np.int64,
    )
