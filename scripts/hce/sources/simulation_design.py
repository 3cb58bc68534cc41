"""Designs the studies of the simulated atlas: their tissues, types, sizes and annotations."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hce.ontology import Ontology
from hce.sources.simulation_atlas import (
    BLOOD_LIKE,
    HEMATOPOIETIC,
    LEAK,
    NEW_ASSAYS,
    NEW_DISEASES,
    NEW_TISSUES,
    OPEN,
    REFERENCE_ASSAYS,
    REFERENCE_DISEASES,
    REFERENCE_TISSUES,
    TISSUES,
    TOO_FEW_CELLS,
    TOO_FEW_DONORS,
    TOO_HIGH,
)
from hce.sources.soma import HUMAN, MOUSE


@dataclass(frozen=True)
class SimulationSettings:
    """Settings of the simulated atlas; the defaults are those of the demo.

    Log-expression is in natural units: a standard deviation of 0.3 changes a gene by about 30 %.

    Attributes:
        seed: seed of the random numbers.
        genes: number of genes.
        studies: number of studies of the reference release, not counting those that curation drops.
        new_studies: number of studies that newer releases add.
        cells_per_study: mean number of cells of a study; sizes vary about twofold.
        types_per_study: number of types in a study.
        donors_per_study: mean number of donors of a study.
        min_cells_per_type: minimum number of cells of a type in a study that annotates it by its
            own name.
        abundance_sd: standard deviation of the log-abundance of types.
        base_sd: standard deviation of the genes' log-expression before any programme is added.
        programme_share: share of genes that each term of the ontology changes.
        programme_sd: standard deviation of the change of these genes.
        study_sd: standard deviation of the shift of a study, for all genes.
        new_study_sd: the same for a new study.
        donor_sd: standard deviation of the shift of a donor.
        assay_sd: standard deviation of the shift of an assay.
        disease_sd: standard deviation of the shift of a disease.
        coarse_share: mean share of a study's types that it annotates as an ancestor of the type.
        new_coarse_share: the same for a new study.
        unresolved: share of the coarse labels that are given to cells which the study could not
            resolve: it labels other cells of the same type by the type's own name.
        continued_collections: number of new studies of a collection of the reference release.
        copied_cells: number of cells of a reference study that newer releases have again as primary
            cells of a new study.
        depth: median total counts of a cell.
        depth_sd: standard deviation of the log of a cell's total counts.
        dispersion: dispersion of the counts, whose variance is mean + dispersion * mean ** 2.
    """

    seed: int = 1
    genes: int = 2000
    studies: int = 40
    new_studies: int = 8
    cells_per_study: int = 1100
    types_per_study: int = 40
    donors_per_study: int = 8
    min_cells_per_type: int = 24
    abundance_sd: float = 1.0
    base_sd: float = 1.2
    programme_share: float = 0.03
    programme_sd: float = 1.0
    study_sd: float = 0.5
    new_study_sd: float = 0.8
    donor_sd: float = 0.15
    assay_sd: float = 0.2
    disease_sd: float = 0.15
    coarse_share: float = 0.45
    new_coarse_share: float = 0.4
    unresolved: float = 0.5
    continued_collections: int = 1
    copied_cells: int = 200
    depth: int = 650
    depth_sd: float = 0.35
    dispersion: float = 0.3


@dataclass(frozen=True)
class Design:
    """The design of a study, before any count is drawn.

    Attributes:
        name: its dataset id.
        collection: number of its collection.
        tissue: key of `TISSUES`.
        disease: disease of every second donor, or "normal".
        assays: assays, which its donors take in turn.
        donors: number of donors.
        types: number of cells of each type, by CL id.
        annotation: the CL id that its authors give to a type, if it is not that of the type itself.
        unresolved: types of `annotation` of which only half of the cells have that label; the
            others have the type's own.
        shift_sd: standard deviation of its shift of the log-expression.
        cells_of: name of the study whose cells it has; its own name unless it is a re-deposit.
        primary: is_primary_data of its cells.
        organism: organism of its cells.
    """

    name: str
    collection: int
    tissue: str
    disease: str
    assays: tuple[str, ...]
    donors: int
    types: Mapping[str, int]
    annotation: Mapping[str, str]
    shift_sd: float
    cells_of: str
    primary: bool = True
    organism: str = HUMAN
    unresolved: frozenset[str] = frozenset()


def random_stream(settings: SimulationSettings, *names: object) -> np.random.Generator:
    """The random stream of a name, independent of all other streams."""
    key = "/".join(map(str, names)).encode()
    return np.random.default_rng([settings.seed, zlib.crc32(key)])


def design_studies(
    settings: SimulationSettings, ontology: Ontology, types: Sequence[str], new: bool
) -> list[Design]:
    """Designs the studies of the reference release, or those that newer releases add.

    Args:
        settings: the settings.
        ontology: the ontology of the types.
        types: CL ids that the studies draw from; coarser annotations are also among them.
        new: whether to design the new studies.
    """
    kind = "new-study" if new else "study"
    number = settings.new_studies if new else settings.studies
    tissues = NEW_TISSUES if new else REFERENCE_TISSUES
    diseases = NEW_DISEASES if new else REFERENCE_DISEASES
    assays = NEW_ASSAYS if new else REFERENCE_ASSAYS
    supply = _deal_types(settings, ontology, types, kind)
    held = [next(supply[tissues[i % len(tissues)]]) for i in range(number)]
    named = _certainly_named(settings, held, kind, at_least=1 if new else 2)
    spread = random_stream(settings, "sizes", kind).lognormal(0, 0.35, number)
    sizes = np.rint(settings.cells_per_study * spread / spread.mean()).astype(int)
    abundance = _normal(settings, settings.abundance_sd, types, "abundance")
    designs = []
    for i in range(number):
        name = f"simulated-{kind}-{i + 1:02d}"
        stream = random_stream(settings, "design", name)
        chosen = stream.choice(list(assays), size=2, replace=False, p=list(assays.values()))
        weight = {t: abundance[t] + stream.normal(0, 0.5) for t in held[i]}
        # Half the cells of an unresolved type keep its name, see `_unresolved`: with so many more
        # coarse types there are as many coarse labels, and the share `unresolved` is on such cells.
        mean_share = settings.new_coarse_share if new else settings.coarse_share
        coarse = (1 + settings.unresolved) * mean_share
        designs.append(
            Design(
                name=name,
                collection=_collection(settings, new, i),
                tissue=tissues[i % len(tissues)],
                disease=diseases[i % len(diseases)],
                assays=tuple(map(str, chosen)),
                donors=max(2, int(stream.poisson(settings.donors_per_study))),
                types=_cells(weight, named[i], settings.min_cells_per_type, sizes[i], stream),
                annotation=_annotation(held[i], named[i], ontology, types, coarse, stream),
                shift_sd=settings.new_study_sd if new else settings.study_sd,
                cells_of=name,
            )
        )
    return [replace(d, unresolved=_unresolved(settings, d)) for d in designs]


def design_unkept(
    settings: SimulationSettings, ontology: Ontology, types: Sequence[str], studies: list[Design]
) -> list[Design]:
    """Designs what curation removes: other assays, unfit types, a re-deposit and mouse cells."""
    ids = {name: cl_id for cl_id, name in ontology.names.items()}

    def other(name: str, cells: Mapping[str, int], number: int) -> Design:
        return _other(settings, name, cells, number)

    few = dict.fromkeys(types, 3)
    return [
        replace(other("other-assays", few, 201), assays=("Smart-seq2", "10x 3' v3", "Drop-seq")),
        other("high-types", {ids[name]: n for name, n in TOO_HIGH.items()}, 202),
        other("rare-types", {ids[name]: n for name, n in TOO_FEW_CELLS.items()}, 202),
        replace(
            other("few-donors", {ids[name]: n for name, n in TOO_FEW_DONORS.items()}, 202),
            donors=3,
        ),
        replace(other("mouse", few, 203), organism=MOUSE),
        redeposit(studies[0], "simulated-redeposit-1"),
    ]


def design_open(settings: SimulationSettings, ontology: Ontology) -> Design:
    """Designs a new study whose labels are not types."""
    ids = {name: cl_id for cl_id, name in ontology.names.items()}
    cells = {ids[name]: n for name, n in OPEN.items()}
    return replace(_other(settings, "open-labels", cells, 205), shift_sd=settings.new_study_sd)


def _other(
    settings: SimulationSettings, name: str, cells: Mapping[str, int], collection: int
) -> Design:
    """A study of some numbers of cells, which are annotated by their own types."""
    return Design(
        name=f"simulated-{name}",
        collection=collection,
        tissue="blood",
        disease="normal",
        assays=("10x 3' v3",),
        donors=settings.donors_per_study,
        types=cells,
        annotation={},
        shift_sd=settings.study_sd,
        cells_of=f"simulated-{name}",
    )


def redeposit(original: Design, name: str) -> Design:
    """The cells of another study again, under another dataset id and not primary."""
    return replace(original, name=name, collection=200, primary=False)


def leak(original: Design) -> Design:
    """A new study with the cells of another one as primary, which the audit must find."""
    return replace(original, name=LEAK, collection=204)


def _collection(settings: SimulationSettings, new: bool, position: int) -> int:
    """Two studies per collection; the first new studies continue old collections."""
    if new and position < settings.continued_collections:
        return position + 1
    return (100 if new else 0) + position // 2 + 1


def _normal(
    settings: SimulationSettings, sd: float, types: Sequence[str], *names: str
) -> dict[str, float]:
    """A normal random number for each type, independent of the other types."""
    return {t: float(random_stream(settings, *names, t).normal(0, sd)) for t in types}


def _deal_types(
    settings: SimulationSettings, ontology: Ontology, types: Sequence[str], kind: str
) -> dict[str, Iterator[list[str]]]:
    """For each tissue, an endless supply of the types of a study.

    Up to 60 % of a study are types of its solid tissue; the others are types that occur everywhere,
    four fifths of them hematopoietic. All are dealt in turn, so that the types that occur
    everywhere are in about the same number of studies.
    """
    within = {t: {t, *ontology.ancestors(t)} for t in types}
    own = {
        tissue: [t for t in types if within[t] & set(roots)]
        for tissue, (_, _, roots) in TISSUES.items()
    }
    everywhere = [t for t in types if not any(t in mine for mine in own.values())]
    per_study = min(settings.types_per_study, len(types))

    def shuffled(chosen: list[str], name: str) -> list[str]:
        order = random_stream(settings, "deal", kind, name).permutation(len(chosen))
        return [chosen[i] for i in order]

    blood = shuffled([t for t in everywhere if HEMATOPOIETIC in within[t]], "hematopoietic")
    other = shuffled([t for t in everywhere if HEMATOPOIETIC not in within[t]], "other")

    def supply(tissue: str) -> Iterator[list[str]]:
        mine = shuffled(own[tissue], tissue)
        while True:
            chosen = _take(mine, round(0.6 * per_study))
            if tissue not in BLOOD_LIKE:
                chosen |= _take(other, round(0.2 * (per_study - len(chosen))))
            chosen |= _take(blood, per_study - len(chosen))
            yield sorted(chosen)

    return {tissue: supply(tissue) for tissue in TISSUES}


def _take(supply: list[str], n: int) -> set[str]:
    """Takes the first n of a list and moves them to its end."""
    taken = supply[:n]
    del supply[:n]
    supply.extend(taken)
    return set(taken)


def _certainly_named(
    settings: SimulationSettings, held: list[list[str]], kind: str, at_least: int
) -> list[set[str]]:
    """For each study, the types that it always annotates by their own name."""
    named: list[set[str]] = [set() for _ in held]
    for cl_id in sorted(set().union(*held)):
        holders = [i for i, types in enumerate(held) if cl_id in types]
        stream = random_stream(settings, "named", kind, cl_id)
        for i in stream.permutation(holders)[:at_least]:
            named[i].add(cl_id)
    return named


def _cells(
    weight: Mapping[str, float],
    named: set[str],
    at_least: int,
    cells: int,
    stream: np.random.Generator,
) -> dict[str, int]:
    """Cells of each type of a study; `cells` in total, or as many as `at_least` requires."""
    least = np.array([at_least if t in named else 2 for t in weight])
    share = np.exp(list(weight.values()))
    rest = stream.multinomial(max(cells - least.sum(), 0), share / share.sum())
    return dict(zip(weight, (least + rest).tolist(), strict=True))


def _annotation(
    held: list[str],
    named: set[str],
    ontology: Ontology,
    types: Sequence[str],
    mean_share: float,
    stream: np.random.Generator,
) -> dict[str, str]:
    """The coarser labels of a study: type → a random one of its ancestors among `types`."""
    above = {t: sorted(ontology.ancestors(t) & set(types)) for t in held}
    share = stream.uniform(0, 2 * mean_share)
    free = [t for t in held if above[t] and t not in named]
    wanted = round(share * sum(map(bool, above.values())))
    chosen = stream.permutation(len(free))[:wanted]
    return {free[i]: str(stream.choice(above[free[i]])) for i in chosen}


def _unresolved(settings: SimulationSettings, design: Design) -> frozenset[str]:
    """Types of a study's annotation that it could not resolve in all cells."""
    share = 2 * settings.unresolved / (1 + settings.unresolved)
    stream = random_stream(settings, "unresolved", design.name)
    order = stream.permutation(sorted(design.annotation))
    return frozenset(map(str, order[: round(share * len(order))]))
