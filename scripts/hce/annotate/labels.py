"""From the probabilities of cells to what is written about them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from hce.decoding import Decoder, decode
from hce.errors import UserError
from hce.models.trained_model import TrainedModel

PREFIX = "hce_"
UNKNOWN = "unknown"  # as in CELLxGENE
_TERM = "_ontology_term_id"
_OWN = re.compile(rf"{PREFIX}(vote_)?((back_off_)?(cell_type({_TERM})?|probability)|path)")


def is_own(column: object) -> bool:
    """Whether a column of obs has the name of one of `columns`."""
    return _OWN.fullmatch(str(column)) is not None


def restriction(trained: TrainedModel, wanted: Sequence[str]) -> np.ndarray:
    """Which types are left where only some are plausible.

    Args:
        trained: the model.
        wanted: CL ids or labels of types of the model; the types below them are wanted too.

    Returns:
        bool (C,).

    Raises:
        UserError: one is no type of the model, or there are none.
    """
    if not len(wanted):
        raise UserError("The list of plausible types is empty: name one, or leave it out.")
    allowed = np.zeros(len(trained.types), dtype=bool)
    for name in wanted:
        allowed |= trained.reachability[type_number(trained, name)]
    return allowed


def type_number(trained: TrainedModel, name: str) -> int:
    """The index of a type by its CL id or label; capitals do not count.

    Raises:
        UserError: the model has no such type; names some that are alike.
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
    """How probabilities are read out.

    Attributes:
        reachability: bool (C, C).
        threshold: of the back-off, or None: no back-off.
        allowed: bool (C,), the plausible types, or None: all.
    """

    reachability: Tensor
    threshold: float | None
    allowed: Tensor | None

    def restricted(self, probabilities: Tensor) -> Tensor:
        """The probabilities (B, C) with those of implausible types taken away; rows sum to 1."""
        if self.allowed is None:
            return probabilities
        kept = probabilities * self.allowed
        total = kept.sum(dim=1, keepdim=True)
        # Where nothing is left, all plausible types are equally likely.
        return torch.where(total > 0, kept / total, self.allowed / self.allowed.sum())

    def read(self, probabilities: Tensor) -> dict[str, np.ndarray]:
        """Types and their probabilities.

        Args:
            probabilities: float (B, C), as `restricted` gives them.

        Returns:
            type (int16), probability (float32), and with a threshold back_off (int16, −1: no type
            reaches the threshold) and s (float32: that the cell is of this type or below; of the
            likeliest type where none reaches it), each (B,).
        """
        types, p = decode(Decoder("argmax"), probabilities, self.reachability)
        found = {"type": _numpy(types, np.int16), "probability": _numpy(p, np.float32)}
        if self.threshold is not None:
            decoder = Decoder("back_off", threshold=self.threshold)
            types, s = decode(decoder, probabilities, self.reachability)
            types = types.masked_fill(s < self.threshold, -1)
            found |= {"back_off": _numpy(types, np.int16), "s": _numpy(s, np.float32)}
        return found


def _numpy(values: Tensor, dtype: type) -> np.ndarray:
    return values.cpu().numpy().astype(dtype)


def columns(
    read: dict[str, np.ndarray], trained: TrainedModel, index: pd.Index, prefix: str = PREFIX
) -> pd.DataFrame:
    """Columns for obs, named as CELLxGENE names its own.

    Args:
        read: of all cells, see `Reader.read`; types below 0 are unknown.
        trained: names the types.
        index: of the cells.
        prefix: of all names.

    Returns:
        <prefix>cell_type, <prefix>cell_type_ontology_term_id, <prefix>probability,
        <prefix>path (the types above, most general first, down to the type), and where there is a
        back-off <prefix>back_off_cell_type, …_ontology_term_id and <prefix>back_off_probability.
    """
    labels, ids = trained.types["label"].tolist(), trained.types["cl_id"].tolist()
    made = _names(f"{prefix}cell_type", read["type"], labels, ids)
    made[f"{prefix}probability"] = read["probability"]
    made[f"{prefix}path"] = _categories(read["type"], paths(trained))
    if "back_off" in read:
        made |= _names(f"{prefix}back_off_cell_type", read["back_off"], labels, ids)
        made[f"{prefix}back_off_probability"] = read["s"]
    return pd.DataFrame(made, index=index)


def _names(
    name: str, types: np.ndarray, labels: Sequence[str], ids: Sequence[str]
) -> dict[str, object]:
    return {name: _categories(types, labels), name + _TERM: _categories(types, ids)}


def _categories(types: np.ndarray, names: Sequence[str]) -> pd.Categorical:
    """Names as categories, those that occur alone; −1 is unknown."""
    codes = np.where(types < 0, len(names), types)
    used, codes = np.unique(codes, return_inverse=True)
    categories = pd.Index([[*names, UNKNOWN][number] for number in used])
    return pd.Categorical.from_codes(codes.tolist(), categories=categories)


def paths(trained: TrainedModel) -> list[str]:
    """Each type with the model's types above it, most general first: "leukocyte > T cell"."""
    labels = trained.types["label"].to_numpy()
    sizes = trained.reachability.sum(axis=1)
    made = []
    for number in range(len(labels)):
        above = np.flatnonzero(trained.reachability[:, number])
        order = above[np.lexsort((above, -sizes[above], above == number))]
        made.append(" > ".join(labels[order]))
    return made


@dataclass(frozen=True)
class Vote:
    """One type for all cells of a cluster: read from the mean of their probabilities.

    Attributes:
        codes: int (cells), the cluster of each cell; −1: in none.
        names: of the clusters.
        sums: float64 (clusters, C), the sums of the probabilities so far.
        cells: int64 (clusters), of how many cells.
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
        """Counts the votes of cells (positions) with probabilities (b, C)."""
        codes = self.codes[cells]
        member = codes >= 0
        np.add.at(self.sums, codes[member], probabilities[member])
        np.add.at(self.cells, codes[member], 1)

    def result(self, reader: Reader) -> dict[str, np.ndarray]:
        """As `Reader.read`, for each cell by its cluster; −1 and NaN where nobody voted."""
        device = reader.reachability.device
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
