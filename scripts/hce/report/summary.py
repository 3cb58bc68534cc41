"""`summary.md`: a run in words and tables, with published and reproduced numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hce.evaluation.scoring import CLEAN
from hce.evaluation.statistics import paired_changes
from hce.figures.tables import one_decoder
from hce.metrics import ABSENT, KIND_NAMES, KINDS
from hce.report.glossary import glossary
from hce.report.headline import headline
from hce.report.markdown import NOTHING, markdown_table, mean_sd, number, points
from hce.report.summary_augmentation import augmentation
from hce.report.summary_changes import changes_of_types_and_studies, limits
from hce.report.summary_decomposition import decomposition
from hce.report.summary_leakage import leakage
from hce.report.summary_published import published_against_reproduced
from hce.report.summary_reading import (
    bootstrap,
    calibrated_precision,
    controls,
    factorial,
    later_releases,
)
from hce.report.summary_results import authors_predictions
from hce.sets import SEEN_SETS


def summarise(
    tables: Mapping[str, pd.DataFrame],
    run: str,
    fits: Sequence[Sequence[object]],
    note: str | None,
    alpha: float,
    model: str,
) -> str:
    """Writes the summary of a run.

    Args:
        tables: `overall`, `type_changes`, `stratum_changes`, `data_totals`, `published`,
            `report`, the cell report (release, step, quantity, value, published, equal), `audit`,
            the summary of the leakage audit (release, set, quantity, value), `factorial`,
            `calibrated_precision`, `bootstrap`, `decomposition` and `controls`; `augmentation`
            (quantity, value) if a model uses it; `published_results` if the config names any.
        run: name of the run.
        fits: [model, loss, seed] of every fit of the config.
        note: what the data are, if not those of the paper (for example "Simulated data"); they are
            then not compared with published numbers. None if they are.
        alpha: family-wise error rate of the tests.
        model: the model that the headline speaks of.

    Returns:
        Markdown that reads well as plain text.
    """
    # One section compares the decoders; the others show one decoder, to stay readable.
    overall, type_changes, stratum_changes, over_studies = (
        one_decoder(tables[name])
        for name in ("overall", "type_changes", "stratum_changes", "bootstrap")
    )
    baselines = list(type_changes["baseline"].unique())
    said_first = headline(tables, model, note, alpha)
    parts = [
        f"# Summary of the run {run}",
        *(f"{number}. {said}" for number, said in enumerate(said_first, start=1)),
        "## Fits",
        _fits(tables["overall"], fits),
        augmentation(tables.get("augmentation")),
        "## Data",
        _sets(tables["data_totals"]),
        "### Counts at each step",
        _report(tables["report"]),
        "## Published against reproduced",
        published_against_reproduced(tables, note),
        authors_predictions(tables),
        "## Scores of this run",
        _scores(overall, baselines, alpha),
        "## What the gain is made of",
        decomposition(tables["decomposition"], alpha),
        "## Loss by decoder",
        factorial(tables["factorial"], tables["decomposition"], SEEN_SETS),
        "## Back-off",
        calibrated_precision(tables["calibrated_precision"], SEEN_SETS),
        "## Controls",
        controls(tables["controls"], tables["overall"], SEEN_SETS),
        "## Over other studies",
        bootstrap(over_studies, SEEN_SETS, alpha),
        "## Over later releases",
        later_releases(overall, baselines),
        "## Leakage",
        leakage(tables["audit"], overall, baselines),
        "## Types and studies that changed",
        changes_of_types_and_studies(type_changes, stratum_changes.query("kind == 'study'"), alpha),
        "## What these seeds can and cannot show",
        limits(type_changes, alpha),
        "## Provenance",
        "`provenance.md` has the code, software, inputs with their checksums, machines, and the "
        "time and memory of every stage; `provenance.json` has all details.",
        "## The tables and their columns",
        glossary(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _fits(overall: pd.DataFrame, fits: Sequence[Sequence[object]]) -> str:
    made = {tuple(map(str, fit)) for fit in overall[["model", "loss", "seed"]].to_numpy()}
    seeds: dict[tuple[str, str], list[str]] = {}
    for model, loss, seed in fits:
        missing = (str(model), str(loss), str(seed)) not in made
        entry = f"{seed} (not available)" if missing else str(seed)
        seeds.setdefault((str(model), str(loss)), []).append(entry)
    rows = [[*names, ", ".join(entries)] for names, entries in seeds.items()]
    return markdown_table(["model", "loss", "seeds"], rows)


def _sets(totals: pd.DataFrame) -> str:
    names = [str(column) for column in totals.columns]
    rows = [
        [str(name), *(number(float(count), "") for count in counts)]
        for name, *counts in totals.to_numpy().tolist()
    ]
    return "`reference` is train, val and id together.\n\n" + markdown_table(names, rows, names[1:])


def _report(report: pd.DataFrame) -> str:
    published = report["published"].notna().any()
    rows = []
    for row in report.to_dict("records"):
        line = [str(row[key]) for key in ("release", "step", "quantity")]
        counts = [number(float(row["value"]), "")]
        if published:
            status = NOTHING if pd.isna(row["equal"]) else str(row["equal"])
            counts = [number(float(row["published"]), ""), *counts, status]
        rows.append([*line, *counts])
    header = ["release", "step", "quantity", "this run"]
    if not published:
        return markdown_table(header, rows, right=("this run",))
    header = [*header[:3], "published", "this run", "status"]
    meaning = f"`{NOTHING}`: this count was not published.\n\n"
    return meaning + markdown_table(header, rows, right=("published", "this run"))


def _scores(overall: pd.DataFrame, baselines: Sequence[str], alpha: float) -> str:
    parts = [
        "Mean ± standard deviation over seeds, in %. A row `hce - ce` is the mean change "
        f"over paired seeds in points, with its {100 * (1 - alpha):g}% confidence interval. "
        "This and the following sections show one decoder; the next section compares the decoders. "
        "`tables/overall.tsv` has the scores of all decoders and of the validation set."
    ]
    for kind in KINDS:
        columns = _score_columns(overall, kind)
        rows = []
        for (model, decoder), group in overall.groupby(["model", "decoder"], sort=False):
            for loss, fits in group.groupby("loss", sort=False):
                cells = [
                    mean_sd(fits.query("set == @name and score == @score")["value"])
                    for name, score in columns.values()
                ]
                rows.append([str(model), str(decoder), str(loss), *cells])
            for baseline in baselines:
                rows += _change_rows(group, str(baseline), columns, alpha)
        parts.append(f"### {KIND_NAMES[kind].capitalize()} macro F1")
        parts.append(markdown_table(["model", "decoder", "loss", *columns], rows, right=columns))
    return "\n\n".join(parts)


def _score_columns(overall: pd.DataFrame, kind: str) -> dict[str, tuple[str, str]]:
    """Heading of a column → its set and score."""
    columns = {}
    has_ood = f"{kind}_macro_f1_ood_types" in set(overall["score"])
    for name in dict.fromkeys(overall["set"]):
        if name in SEEN_SETS or str(name).endswith(CLEAN):
            continue
        columns[f"{name}, all its types"] = (name, f"{kind}_macro_f1")
        if _absent_types_count(overall[overall["set"] == name], kind):
            columns[f"{name}, absent types as 0"] = (name, f"{kind}_{ABSENT['zero']}")
        if name == "id" and has_ood:
            columns["id, OOD types"] = (name, f"{kind}_macro_f1_ood_types")
    return columns


def _absent_types_count(scores: pd.DataFrame, kind: str) -> bool:
    """Whether a mean changes if types without cells that are predicted count as 0."""
    skipped, counted = (
        scores.loc[scores["score"] == f"{kind}_{name}", "value"].to_numpy()
        for name in ABSENT.values()
    )
    return len(counted) > 0 and not np.array_equal(skipped, counted)


def _change_rows(
    group: pd.DataFrame, baseline: str, columns: Mapping[str, tuple[str, str]], alpha: float
) -> list[list[str]]:
    changes = paired_changes(group, "value", ["score"], baseline, alpha)
    rows = []
    for (model, decoder, loss), part in changes.groupby(["model", "decoder", "loss"], sort=False):
        found = {(row["set"], row["score"]): row for row in part.to_dict("records")}
        cells = [_change(found.get(key)) for key in columns.values()]
        rows.append([str(model), str(decoder), f"{loss} - {baseline}", *cells])
    return rows


def _change(row: Mapping[Any, Any] | None) -> str:
    """A change in points, with its interval if there is one."""
    if row is None or pd.isna(row["change"]):
        return NOTHING
    if pd.isna(row["ci_low"]):
        return points(row["change"])
    return f"{points(row['change'])} [{points(row['ci_low'])}, {points(row['ci_high'])}]"
