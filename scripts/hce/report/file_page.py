"""The page of an annotated file: one HTML file that needs no network."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from hce.annotate.annotator import Annotator
from hce.annotate.labels import PREFIX, UNKNOWN
from hce.annotate.run import Annotation
from hce.annotate.survey import Survey, survey
from hce.errors import UserError
from hce.figures import file_panels, style
from hce.files import atomic_path
from hce.inputs.cells import open_cells
from hce.models.gene_weights import gene_weights
from hce.report.file_cautions import cautions
from hce.report.markdown import NOTHING
from hce.report.page_assets import page_asset, templates
from hce.report.page_tables import Cell, PageTable

SUFFIX = ".html"
# Genes that are named for and against a type of a linear model.
NAMED = 3
# Rows of the picture of the clusters.
CLUSTERS = 60


@dataclass(frozen=True)
class Picture:
    """A picture on the page, as SVG, with a sentence that says what it shows."""

    anchor: str
    title: str
    caption: str
    svg: Markup


def check_page(path: str | Path) -> None:
    """Checks the name of a page.

    Raises:
        UserError: it does not end in .html.
    """
    if Path(path).suffix != SUFFIX:
        raise UserError(f"The report {path} is a page: let its name end in {SUFFIX}.")


def write_file_page(
    path: str | Path,
    source: str | Path,
    annotation: Annotation,
    annotator: Annotator,
    vote: str | None,
) -> None:
    """Reads an annotated file once more and writes its page, atomically.

    Args:
        path: the page.
        source: the annotated file.
        annotation: of its cells.
        annotator: the model.
        vote: column of obs whose clusters voted; None: there was no vote.

    Raises:
        UserError: see `survey.survey`.
    """
    clusters = None
    if vote is not None:
        with open_cells(source) as cells:
            clusters = cells.obs[vote]
    found = survey(source, annotation, annotator)
    page = build_file_page(source, annotation, annotator, found, clusters)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def build_file_page(
    source: str | Path,
    annotation: Annotation,
    annotator: Annotator,
    found: Survey,
    clusters: pd.Series | None,
) -> str:
    """Writes the page.

    Args:
        source: the annotated file; its name is shown, not its folder.
        annotation: of its cells.
        annotator: the model.
        found: see `survey.survey`.
        clusters: cluster of each cell, if there was a vote; None: no picture of clusters.

    Returns:
        HTML that needs no other file and no network.
    """
    answers = _answers(annotation)
    with style.house_style():
        pictures = _pictures(annotation, annotator, found, answers, clusters)
    return (
        templates()
        .get_template("file.html.j2")
        .render(
            file=Path(source).name,
            style=Markup(
                page_asset("colours.css") + page_asset("index.css") + page_asset("file.css")
            ),
            script=Markup(page_asset("index.js")),
            facts=_facts(annotation, annotator, answers),
            cautions=cautions(annotation, annotator, found, clusters),
            types=_types(annotation, annotator, found, answers),
            pictures=pictures,
        )
    )


def _answers(annotation: Annotation) -> pd.Series:
    """The answer for each cell: of the back-off, or else the most probable type."""
    obs = annotation.obs
    kind = "back_off_cell_type" if f"{PREFIX}back_off_cell_type" in obs else "cell_type"
    return obs[f"{PREFIX}{kind}"].astype(str)


def _facts(
    annotation: Annotation, annotator: Annotator, answers: pd.Series
) -> list[tuple[str, str]]:
    uns, genes, obs = annotation.uns, annotation.genes, annotation.obs
    known = answers != UNKNOWN
    reasons = obs.get(f"{PREFIX}unknown_reason", pd.Series(dtype=object)).value_counts()
    why = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
    trained = annotator.trained
    others = "; ".join(uns["counts_others"])
    return [
        ("Cells", f"{len(obs):,}"),
        ("With an answer", f"{known.sum():,} ({known.mean():.1%})"),
        ("Unknown", f"{(~known).sum():,}" + (f": {why}" if why else "")),
        ("Counts", f"{uns['counts']} ({uns['counts_kind']})" + (f"; {others}" if others else "")),
        ("Genes", f"{genes.found:,} of the model's {genes.n_genes:,} found"),
        (
            "Model",
            f"{trained.provenance['model']['class']}, loss {trained.provenance['loss']['class']}, "
            f"{len(trained.types)} types, checksum {annotator.fingerprint or 'none'}",
        ),
    ]  # fmt: skip


def _types(
    annotation: Annotation, annotator: Annotator, found: Survey, answers: pd.Series
) -> PageTable:
    """One row per answer, the most frequent first."""
    kind = "back_off_" if f"{PREFIX}back_off_cell_type" in annotation.obs else ""
    chance = annotation.obs[f"{PREFIX}{kind}probability"].groupby(answers).mean()
    depth = dict(zip(annotator.answers.labels, annotator.answers.table["depth"], strict=True))
    agree = found.markers["agrees"].groupby(found.markers["type"])
    marked = {str(name): (int(own.sum()), len(own)) for name, own in agree}
    genes = _genes_for_and_against(annotator)
    rows = []
    for name, cells in Counter(answers).most_common():
        good, of = marked.get(name, (0, 0))
        row = [
            Cell(name, name.lower()),
            Cell(f"{cells:,}", float(cells)),
            Cell(f"{cells / len(answers):.1%}", cells / len(answers)),
            _number(np.nan if name == UNKNOWN else chance[name], f"{chance[name]:.2f}"),
            _number(depth.get(name, np.nan), f"{depth.get(name, 0):.0f}"),
            _number(good / of if of else np.nan, f"{good} of {of}"),
        ]
        rows.append(row + [Cell(text, text.lower()) for text in genes.get(name, ())])
    columns = {
        "Answer": "A type of the model, or a term above its types",
        "Cells": "Number of cells",
        "Share": "Share of all cells",
        "Probability": "Mean probability that a cell is of this type or one below it",
        "Depth": "Terms above the answer in the ontology",
        "Markers": "Marker genes that the cells show as training cells of the type do",
    }
    if genes:
        columns["Speak for it"] = "Genes with the largest weights in the linear model"
        columns["Speak against it"] = "Genes with the smallest weights in the linear model"
        rows = [row + [Cell(NOTHING, "")] * (len(columns) - len(row)) for row in rows]
    about = (
        "Answers of the back-off, the most frequent first." if kind else "The most probable types."
    )
    return PageTable("types", "Types", about, columns, rows, "There are no cells.", "")


def _number(value: float, text: str) -> Cell:
    return Cell(NOTHING, float("-inf")) if pd.isna(value) else Cell(text, float(value))


def _genes_for_and_against(annotator: Annotator) -> dict[str, tuple[str, str]]:
    """Label → the genes with the largest and the smallest weights; none if it is not linear."""
    weights = gene_weights(annotator.trained)
    if weights is None:
        return {}
    names = annotator.trained.genes["feature_name"].to_numpy()
    order = np.argsort(-weights, axis=1, kind="stable")
    return {
        label: (", ".join(names[row[:NAMED]]), ", ".join(names[row[::-1][:NAMED]]))
        for label, row in zip(annotator.trained.types["label"], order, strict=True)
    }


def _pictures(
    annotation: Annotation,
    annotator: Annotator,
    found: Survey,
    answers: pd.Series,
    clusters: pd.Series | None,
) -> Sequence[Picture]:
    obs, drawn = annotation.obs, found.drawn
    missing = pd.Series(np.nan, index=obs.index)
    novelty = obs.get(f"{PREFIX}novelty", missing).astype(float)
    part = "" if len(drawn) == len(obs) else f" {len(drawn):,} cells drawn at random."
    made = [
        (
            "map",
            "Map of the cells",
            f"Embedding: {found.embedded_by}.{part} Distances between groups mean little.",
            file_panels.embedding(
                found.embedding, answers.iloc[drawn], novelty.iloc[drawn], UNKNOWN
            ),
        )
    ]
    if clusters is not None and clusters.notna().any():
        counts = pd.crosstab(clusters.astype(str).to_numpy(), answers.to_numpy())
        largest = counts.sum(axis=1).sort_values(ascending=False, kind="stable").index[:CLUSTERS]
        counts = counts.loc[largest, answers.value_counts().index]
        caption = (
            f"Which share of each cluster ({clusters.name}), in %, got which answer; the largest "
            "clusters first. Answers that no cluster has in more than 1% are left out."
        )
        shares = counts.div(counts.sum(axis=1), axis=0)
        made.append(("clusters", "Clusters", caption, file_panels.clusters(shares)))
    depth = dict(zip(annotator.answers.labels, annotator.answers.table["depth"], strict=True))
    made.append(
        (
            "depth",
            "Coverage, depth and novelty",
            "How specific the answers are; and how new the cells: novelty is the mean surprise of "
            "a cell's counts under the profile of the best of its three most probable types.",
            file_panels.depth_and_novelty(
                answers.map(depth).dropna(),
                novelty,
                annotation.uns.get("novelty_threshold"),
                len(obs),
            ),
        )
    )
    if len(found.markers):
        caption = (
            "Genes that are more frequent in the training cells of a type than in those of others. "
            "Dot: the cells of this file that are called the type; line: from the training cells "
            "of other types (thin end) to those of the type (thick end). A brown dot is nearer to "
            "the others."
        )
        made.append(("markers", "Markers", caption, file_panels.markers(found.markers)))
    return [
        Picture(anchor, title, caption, Markup(file_panels.inline_svg(figure)))
        for anchor, title, caption, figure in made
    ]
