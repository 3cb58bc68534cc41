"""`index.html` of a run: one file that begins with the headline and leads to everything else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from docutils.core import publish_parts
from markupsafe import Markup

from hce.figures.tables import one_decoder
from hce.report import page_tables
from hce.report.forest import forest
from hce.report.glossary import entries
from hce.report.headline import headline, of_one_loss
from hce.report.page_assets import page_asset, templates
from hce.report.thumbnails import thumbnail

# What each sentence of the headline answers.
QUESTIONS = (
    "What was compared?",
    "On what data?",
    "What does it give?",
    "What is the gain made of?",
    "What can an annotator rely on?",
)
# An error of docutils stops the page and does not become part of it.
STRICT = {"report_level": 2, "halt_level": 2}


def build_index(
    tables: Mapping[str, pd.DataFrame],
    figures: Sequence[Mapping[str, str]],
    run: str,
    note: str | None,
    model: str,
    alpha: float,
) -> str:
    """Writes the page.

    Args:
        tables: `overall`, `data_totals`, `bootstrap`, `decomposition`, `calibrated_precision`,
            `factorial`, `type_changes`, `per_stratum`, `data_types` and `audit_studies`.
        figures: of each figure, in order, `name` (of its files), `title`, `caption` (filled in,
            reStructuredText) and `png` (path).
        run: name of the run.
        note: what the data are, if not those of the paper; None if they are.
        model: the model of the headline and of the tables of types and studies.
        alpha: 1 - coverage of the intervals.

    Returns:
        HTML that needs no network; it links to the files beside it.
    """
    overall = tables["overall"]
    models = [str(m) for m in dict.fromkeys(overall["model"])]
    model = model if model in models else models[0]
    on = "ood" if "ood" in set(overall["set"]) else "id"
    said = headline(tables, model, note, alpha)
    gains = of_one_loss(one_decoder(tables["bootstrap"]), tables["decomposition"])
    return (
        templates()
        .get_template("index.html.j2")
        .render(
            run=run,
            note=note,
            style=Markup(page_asset("colours.css") + page_asset("index.css")),
            script=Markup(page_asset("index.js")),
            headline=list(zip(QUESTIONS, said, strict=True)),
            forest=forest(gains[gains["set"] == on], alpha),
            on="new studies" if on == "ood" else "held-out donors",
            figures=[_card(figure) for figure in figures],
            tables=_page_tables(tables, model, on),
            glossary=list(entries()),
        )
    )


def _page_tables(
    tables: Mapping[str, pd.DataFrame], model: str, on: str
) -> list[page_tables.PageTable]:
    changes = of_one_loss(tables["type_changes"], tables["decomposition"])
    losses = [str(loss) for name in ("baseline", "loss") for loss in changes[name].unique()]
    losses = losses or [str(loss) for loss in tables["overall"]["loss"].unique()]
    return [
        page_tables.types(changes, tables["data_types"], model, on),
        page_tables.studies(tables["per_stratum"], tables["audit_studies"], model, losses, on),
        page_tables.gain(tables["decomposition"], on),
        page_tables.back_off(tables["calibrated_precision"]),
        page_tables.scores(tables["factorial"]),
    ]


def _card(figure: Mapping[str, str]) -> dict[str, Any]:
    """What the template needs of a figure; its caption begins with a title in bold."""
    picture, width, height = thumbnail(Path(figure["png"]))
    html = publish_parts(figure["caption"], writer="html", settings_overrides=STRICT)["body"]
    first = figure["caption"].split("**")[1]
    return {
        "name": figure["name"],
        "title": figure["title"],
        "shows": first.removesuffix("."),
        "caption": Markup(html.replace(f"<strong>{Markup.escape(first)}</strong>", "", 1)),
        "picture": picture,
        "width": width,
        "height": height,
    }
