"""What a reader of an annotated file has to be careful about, in sentences."""

from collections.abc import Iterator

import pandas as pd

from hce.annotate.annotator import Annotator
from hce.annotate.labels import PREFIX, UNKNOWN, UNMARKED
from hce.annotate.markers import MIN_CELLS
from hce.annotate.run import VOTE_PREFIX, Annotation
from hce.annotate.survey import Survey

# Above these shares a sentence is due.
MANY = 0.05
FEW_ANSWERS = 0.8
MOST_GENES = 0.9
# So many marker genes, or fewer, are no support for a type.
FEW_MARKERS = 1


def cautions(
    annotation: Annotation, annotator: Annotator, survey: Survey, clusters: pd.Series | None
) -> list[str]:
    """All that is due; what is known of the precision is the last.

    Args:
        annotation: of a file.
        annotator: the model.
        survey: of the file.
        clusters: cluster of each cell, if there was a vote.
    """
    return [
        *_of_input(annotation, annotator),
        *_of_cells(annotation, annotator, survey, clusters),
        *_of_types(annotation, annotator, survey),
        str(annotation.uns.get("back_off_reliability", "")) or "The answers have no back-off.",
    ]


def _of_input(annotation: Annotation, annotator: Annotator) -> Iterator[str]:
    uns, genes = annotation.uns, annotation.genes
    if "panel" in uns:
        yield (
            "This is a panel of genes: types that the other genes tell apart are mixed up, and the "
            "calibrated precision does not hold."
        )
    elif genes.found < MOST_GENES * genes.n_genes:
        missing = genes.n_genes - genes.found
        yield f"{missing:,} of the model's {genes.n_genes:,} genes are missing and count as zero."
    if uns["counts_rounded"]:
        yield "The counts were fractions, and were rounded."
    if "restricted_to" in uns:
        yield (
            f"Only these types and those below them could be answered: "
            f"{', '.join(uns['restricted_to'])}. The precision was not calibrated for a choice."
        )
    if annotator.novelty is None:
        yield "The model cannot tell cells of types that it does not know."


def _of_cells(
    annotation: Annotation, annotator: Annotator, survey: Survey, clusters: pd.Series | None
) -> Iterator[str]:
    obs = annotation.obs
    novel = obs.get(f"{PREFIX}novel", pd.Series(dtype=bool))
    if len(novel) and novel.mean() > MANY:
        yield (
            f"{novel.mean():.0%} of the cells are unlike any type of the model: they may be of "
            "types that it does not know, stressed, or two cells in one droplet."
        )
    answers = obs.get(f"{PREFIX}back_off_cell_type")
    if answers is not None and (unknown := (answers == UNKNOWN).mean()) > 1 - FEW_ANSWERS:
        yield f"{unknown:.0%} of the cells have no answer."
    if annotator.novelty is not None and "novelty_threshold" in annotation.uns:
        few = (survey.genes < annotator.novelty.few_genes).mean()
        if few > MANY:
            yield (
                f"{few:.0%} of the cells show fewer than {annotator.novelty.few_genes:,} genes, as "
                "1% of the validation cells do: they may be damaged, or the sequencing shallow."
            )
    if clusters is not None and f"{VOTE_PREFIX}novel" in obs:
        reason = obs.get(f"{VOTE_PREFIX}unknown_reason", pd.Series(index=obs.index, dtype=object))
        groups = {
            "Clusters that are unlike any type of the model": obs[f"{VOTE_PREFIX}novel"],
            "Clusters without an answer, as they show no marker of it": reason == UNMARKED,
        }
        for words, own in groups.items():
            if own.any():
                names = sorted(clusters[own.to_numpy()].astype(str).unique())
                yield f"{words}: {', '.join(names)}."


def _of_types(annotation: Annotation, annotator: Annotator, survey: Survey) -> Iterator[str]:
    for name, own in survey.markers.groupby("type", sort=False):
        absent = own[~own["agrees"]]["gene"].tolist()
        if len(own) - len(absent) <= FEW_MARKERS:
            yield (
                f"Cells whose most probable type is {name} show little of {', '.join(absent)}, "
                "which mark this type in the training: look before you take it."
            )
    counts = annotation.obs[f"{PREFIX}cell_type"].value_counts()
    rare = [str(name) for name, count in counts.items() if 0 < count < MIN_CELLS]
    if rare:
        yield f"The most probable type of fewer than {MIN_CELLS} cells: {', '.join(rare)}."
    terms = annotator.answers
    if terms.withheld:
        names = ", ".join(terms.labels[position] for position in terms.withheld)
        yield f"Never answered, as the training did not tell them from others: {names}."
