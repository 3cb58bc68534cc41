"""From the probabilities of cells to columns of types."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from hce.decoding import Decoder, back_off, below, decode
from hce.errors import UserError
from hce.models.trained_model import TrainedModel
from hce.ontology.terms import Terms

PREFIX = "hce_"
UNKNOWN = "unknown"  # as in CELLxGENE
_TERM = "_ontology_term_id"
_OWN = re.compile(rf"{PREFIX}(vote_)?((back_off_)?(cell_type({_TERM})?|probability)|path)")


def is_own(column: object) -> bool:
    """Whether a column of obs has the name of one of `columns`."""
    return _OWN.fullmatch(str(column)) is not None


def restriction(trained: TrainedModel, wanted: Sequence[str]) -> np.ndarray:
    """The types that remain if only some are plausible.

    Args:
        trained: the model.
        wanted: CL ids or labels of types of the model; the types below them are included.

    Returns:
        bool (C,).

    Raises:
        UserError: one of them is not a type of the model, or the list is empty.
    """
    if not len(wanted):
        raise UserError("The list of plausible types is empty: name one, or leave it out.")
    allowed = np.zeros(len(trained.types), dtype=bool)
    for name in wanted:
        allowed |= trained.reachability[type_number(trained, name)]
    return allowed


def type_number(trained: TrainedModel, name: str) -> int:
    """The index of a type by its CL id or label, ignoring case.

    Raises:
        UserError: the model has no such type; the message names similar ones.
    """
    labels = trained.types["label"].str.lower()
    found = np.flatnonzero((labels == name.lower()) | (trained.types["cl_id"] == name.upper()))
    if not len(found):
        alike = trained.types["label"][[name.lower() in label for label in labels]].tolist()
        hint = f"it has {', '.join(alike[:5])}" if alike else "`hce models` lists its types"
        raise UserError(f"The model has no type {name!r}: {hint}.")
    return int(found[0])


@dataclass(frozen=True)
class Reader:
    """Predicts types from probabilities.

    Attributes:
        members: bool (U, C), the types of each term that the back-off may answer; the first C terms
            are the types.
        threshold: threshold of the back-off, or None: no back-off.
        allowed: bool (C,), the plausible types, or None: all.
        decoder: the rule that chooses the type.
    """

    members: Tensor
    threshold: float | None
    allowed: Tensor | None
    decoder: Decoder = field(default_factory=lambda: Decoder("argmax"))

    def restricted(self, probabilities: Tensor) -> Tensor:
        """The probabilities (B, C) without those of implausible types; rows sum to 1."""
        if self.allowed is None:
            return probabilities
        kept = probabilities * self.allowed
        total = kept.sum(dim=1, keepdim=True)
        # If nothing is left, all plausible types are equally likely.
        return torch.where(total > 0, kept / total, self.allowed / self.allowed.sum())

    def read(self, probabilities: Tensor) -> dict[str, np.ndarray]:
        """Types and their probabilities.

        Args:
            probabilities: float (B, C), as `restricted` gives them.

        Returns:
            type (int16), probability (float32), and with a threshold back_off (int16, the term, −1
            if none reaches the threshold) and s (float32: probability of this term or one below
            it; of the term with the largest s if none reaches the threshold), each (B,).
        """
        reachability = self.members[: self.members.shape[1]]
        types, _ = decode(self.decoder, probabilities, reachability)
        p = probabilities.gather(1, types[:, None]).squeeze(1)
        found = {"type": _numpy(types, np.int16), "probability": _numpy(p, np.float32)}
        if self.threshold is not None:
            terms, s = back_off(below(probabilities, self.members), self.members, self.threshold)
            terms = terms.masked_fill(s < self.threshold, -1)
            found |= {"back_off": _numpy(terms, np.int16), "s": _numpy(s, np.float32)}
        return found


def _numpy(values: Tensor, dtype: type) -> np.ndarray:
    return values.cpu().numpy().astype(dtype)


def columns(
    read: dict[str, np.ndarray], terms: Terms, index: pd.Index, prefix: str = PREFIX
) -> pd.DataFrame:
    """Columns for obs, with names like those of CELLxGENE.

    Args:
        read: result of `Reader.read` for all cells; types below 0 are unknown.
        terms: the names of the types and of the terms above them.
        index: index of the cells.
        prefix: prefix of all names.

    Returns:
        <prefix>cell_type, <prefix>cell_type_ontology_term_id, <prefix>probability,
        <prefix>path (the types above, the most general first, down to the type), and with a
        back-off <prefix>back_off_cell_type, …_ontology_term_id and <prefix>back_off_probability.
    """
    labels, ids = terms.labels, terms.table["cl_id"].tolist()
    made = _names(f"{prefix}cell_type", read["type"], labels, ids)
    made[f"{prefix}probability"] = read["probability"]
    made[f"{prefix}path"] = _categories(read["type"], paths(terms))
    if "back_off" in read:
        made |= _names(f"{prefix}back_off_cell_type", read["back_off"], labels, ids)
        made[f"{prefix}back_off_probability"] = read["s"]
    return pd.DataFrame(made, index=index)


def _names(
    name: str, types: np.ndarray, labels: Sequence[str], ids: Sequence[str]
) -> dict[str, object]:
    return {name: _categories(types, labels), name + _TERM: _categories(types, ids)}


def _categories(types: np.ndarray, names: Sequence[str]) -> pd.Categorical:
    """Names as categories, only those that occur; −1 is unknown."""
    codes = np.where(types < 0, len(names), types)
    used, codes = np.unique(codes, return_inverse=True)
    categories = pd.Index([[*names, UNKNOWN][number] for number in used])
    return pd.Categorical.from_codes(codes.tolist(), categories=categories)


def paths(terms: Terms) -> list[str]:
    """Each type after the model's types above it, the most general first: "leukocyte > T cell"."""
    reachability = terms.members[: terms.n_types]
    labels = np.array(terms.labels[: terms.n_types])
    sizes = reachability.sum(axis=1)
    made = []
    for number in range(len(labels)):
        above = np.flatnonzero(reachability[:, number])
        order = above[np.lexsort((above, -sizes[above], above == number))]
        made.append(" > ".join(labels[order]))
    return made


@dataclass(frozen=True)
class Vote:
    """One type for all cells of a cluster, from the mean of their probabilities.

    Attributes:
        codes: int (cells), the cluster of each cell; −1: no cluster.
        names: names of the clusters.
        sums: float64 (clusters, C), the sums of the probabilities so far.
        cells: int64 (clusters), the number of cells in the sums.
    """

    codes: np.ndarray
    names: Sequence[str]
    sums: np.ndarray
    cells: np.ndarray

    @classmethod
    def over(cls, clusters: pd.Series, n_types: int) -> "Vote":
        """A vote without cells yet; cells without a cluster do not vote."""
        codes, names = pd.factorize(clusters, sort=False)
        sums = np.zeros((len(names), n_types))
        return cls(codes, [str(name) for name in names], sums, np.zeros(len(names), np.int64))

    def add(self, cells: np.ndarray, probabilities: np.ndarray) -> None:
        """Adds the votes of cells (positions) with probabilities (b, C)."""
        codes = self.codes[cells]
        member = codes >= 0
        np.add.at(self.sums, codes[member], probabilities[member])
        np.add.at(self.cells, codes[member], 1)

    def result(self, reader: Reader) -> dict[str, np.ndarray]:
        """As `Reader.read`, for the cluster of each cell; −1 and NaN without votes."""
        device = reader.members.device
        means = torch.from_numpy(self.sums / np.maximum(self.cells, 1)[:, None]).to(device)
        of_cluster = reader.read(means)
        voted = np.append(self.cells > 0, False)[self.codes]  # −1: the last one
        found = {}
        for name, values in of_cluster.items():
            missing = np.nan if values.dtype.kind == "f" else -1
            found[name] = np.where(voted, np.append(values, missing)[self.codes], missing).astype(
                values.dtype
            )
        return found
