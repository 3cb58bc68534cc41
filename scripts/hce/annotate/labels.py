"""From the probabilities of cells to columns of types."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from hce.annotate.names import term_number
from hce.decoding import Decoder, back_off, below, decode
from hce.errors import UserError
from hce.ontology.terms import Terms

PREFIX = "hce_"
UNKNOWN = "unknown"  # as in CELLxGENE
_TERM = "_ontology_term_id"
# The most probable types after the one that is given.
RUNNERS_UP = ("second", "third")
_KINDS = "|".join(["back_off", *RUNNERS_UP, "level", r"depth_\d+"])
_SINGLE = "path|novelty|novel|unknown_reason"
_OWN = re.compile(rf"{PREFIX}(vote_)?((({_KINDS})_)?(cell_type({_TERM})?|probability)|{_SINGLE})")
# Why the back-off gives no answer, the first that holds.
NO_COUNTS, FEW_GENES, NOVEL, UNMARKED, UNCERTAIN = (
    *("no counts", "few genes", "unlike any type", "markers absent", "not certain"),
)


def is_own(column: object) -> bool:
    """Whether a column of obs has the name of one of `columns`."""
    return _OWN.fullmatch(str(column)) is not None


def restriction(terms: Terms, wanted: Sequence[str]) -> np.ndarray:
    """The types that remain if only some are plausible.

    Args:
        terms: the types of the model and the terms above them.
        wanted: CL ids or labels of terms; the types below them are included.

    Returns:
        bool (C,).

    Raises:
        UserError: one of them is not a term of the model, or the list is empty.
    """
    if not len(wanted):
        raise UserError("The list of plausible types is empty: name one, or leave it out.")
    allowed = np.zeros(terms.n_types, dtype=bool)
    for name in wanted:
        allowed |= terms.members[term_number(terms, name)]
    return allowed


def levels_of(terms: Terms, names: Sequence[str], depths: Sequence[int]) -> dict[str, np.ndarray]:
    """Which terms are answered at the levels that a user asks for.

    Args:
        terms: what the back-off may answer.
        names: terms of a level of its own, by CL id or label; it is called level.
        depths: levels of all terms that have at most so many terms above them; called depth_<n>.

    Returns:
        Name → int64 positions of the terms; back_off has all that may be answered.

    Raises:
        UserError: there is no such term, or no term of such a depth.
    """
    levels = {"back_off": terms.answerable}
    if names:
        levels["level"] = np.array([term_number(terms, name) for name in names])
    depth = terms.table["depth"].to_numpy()
    for limit in depths:
        levels[f"depth_{limit}"] = terms.answerable[depth[terms.answerable] <= limit]
        if not len(levels[f"depth_{limit}"]):
            raise UserError(
                f"No term of the model has a depth of {limit} or less: the smallest is "
                f"{depth.min()}."
            )
    return levels


@dataclass(frozen=True)
class Reader:
    """Predicts types from probabilities.

    Attributes:
        members: bool (U, C), the types of each term that the back-off may answer; the first C terms
            are the types.
        threshold: threshold of the back-off, or None: no back-off.
        allowed: bool (C,), the plausible types, or None: all.
        decoder: the rule that chooses the type.
        levels: name → positions of the terms, int64, that are answered at a level; back_off is
            that of all.
    """

    members: Tensor
    threshold: float | None
    allowed: Tensor | None
    decoder: Decoder = field(default_factory=lambda: Decoder("argmax"))
    levels: Mapping[str, Tensor] = field(default_factory=dict)

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
            type (int16) and probability (float32); second and third (int16), the most probable of
            the other types, with p_second and p_third; and with a threshold back_off (int16, the
            term, −1 if none reaches it) and s_back_off (float32: probability of this term or one
            below it; of the term with the largest s if none reaches the threshold), and the same of
            each level. Each is (B,).
        """
        reachability = self.members[: self.members.shape[1]]
        types, _ = decode(self.decoder, probabilities, reachability)
        p = probabilities.gather(1, types[:, None]).squeeze(1)
        found = {"type": _numpy(types, np.int16), "probability": _numpy(p, np.float32)}
        found |= self._runners_up(probabilities, types)
        if self.threshold is None:
            return found
        s = below(probabilities, self.members)
        for name, chosen in self.levels.items():
            place, reached = back_off(s[:, chosen], self.members[chosen], self.threshold)
            terms = chosen[place].masked_fill(reached < self.threshold, -1)
            found |= {name: _numpy(terms, np.int16), f"s_{name}": _numpy(reached, np.float32)}
        return found

    def _runners_up(self, probabilities: Tensor, types: Tensor) -> dict[str, np.ndarray]:
        others = probabilities.scatter(1, types[:, None], -1.0)
        size = min(len(RUNNERS_UP), probabilities.shape[1] - 1)
        best, place = others.topk(size, dim=1)
        found = {}
        for number, name in enumerate(RUNNERS_UP[:size]):
            # Types that are left out have no probability, and are no runners-up.
            types = place[:, number].masked_fill(best[:, number] <= 0, -1)
            found[name] = _numpy(types, np.int16)
            found[f"p_{name}"] = _numpy(best[:, number], np.float32)
        return found


def _numpy(values: Tensor, dtype: type) -> np.ndarray:
    return values.cpu().numpy().astype(dtype)


def columns(
    read: dict[str, np.ndarray], terms: Terms, index: pd.Index, prefix: str = PREFIX
) -> pd.DataFrame:
    """Columns for obs, with names like those of CELLxGENE.

    Args:
        read: result of `Reader.read` for all cells, types below 0 are unknown; and novelty
            (float32), novel, few_genes and, of clusters, unmarked (bool), unless nothing is known
            of them.
        terms: the names of the types and of the terms above them.
        index: index of the cells.
        prefix: prefix of all names.

    Returns:
        <prefix>cell_type, <prefix>cell_type_ontology_term_id, <prefix>probability,
        <prefix>path (the types above, the most general first, down to the type), the same names
        after <prefix>second_ and third_ for the runners-up and, with a back-off, after
        <prefix>back_off_ and the names of the levels, where novel and unmarked cells are unknown;
        <prefix>novelty, <prefix>novel and, with a back-off, <prefix>unknown_reason.
    """
    for why in ("novel", "unmarked"):
        if why in read:
            read = {
                name: np.where(read[why], -1, values) if f"s_{name}" in read else values
                for name, values in read.items()
            }
    labels, ids = terms.labels, terms.table["cl_id"].tolist()
    made = _names(f"{prefix}cell_type", read["type"], labels, ids)
    made[f"{prefix}probability"] = read["probability"]
    made[f"{prefix}path"] = _categories(read["type"], paths(terms))
    for name, values in read.items():
        if (chance := next((c for c in (f"s_{name}", f"p_{name}") if c in read), None)) is not None:
            made |= _names(f"{prefix}{name}_cell_type", values, labels, ids)
            made[f"{prefix}{name}_probability"] = read[chance]
    made |= {f"{prefix}{name}": read[name] for name in ("novelty", "novel") if name in read}
    if "back_off" in read:
        made[f"{prefix}unknown_reason"] = _reasons(read)
    return pd.DataFrame(made, index=index)


def _reasons(read: Mapping[str, np.ndarray]) -> pd.Categorical:
    """Why the back-off is unknown, missing where it is not."""
    none = np.zeros(len(read["type"]), dtype=bool)
    holds = {
        NO_COUNTS: read["type"] < 0,
        FEW_GENES: read.get("few_genes", none),
        NOVEL: read.get("novel", none),
        UNMARKED: read.get("unmarked", none),
        UNCERTAIN: ~none,
    }
    code = np.where(read["back_off"] < 0, np.argmax(list(holds.values()), axis=0), -1)
    found = pd.Categorical.from_codes(code.tolist(), categories=pd.Index(list(holds)))
    return found.remove_unused_categories()


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
        genes: float64 (clusters, G), the sums of the shares of genes so far; G is 0 if these are
            not needed.
    """

    codes: np.ndarray
    names: Sequence[str]
    sums: np.ndarray
    cells: np.ndarray
    genes: np.ndarray

    @classmethod
    def over(cls, clusters: pd.Series, n_types: int, n_genes: int = 0) -> "Vote":
        """A vote without cells yet; cells without a cluster do not vote."""
        codes, names = pd.factorize(clusters, sort=False)
        sums = np.zeros((len(names), n_types))
        cells, genes = np.zeros(len(names), np.int64), np.zeros((len(names), n_genes))
        return cls(codes, [str(name) for name in names], sums, cells, genes)

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
