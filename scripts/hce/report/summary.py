"""`summary.md`: a run in words and tables, with published and reproduced numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hce.evaluation.scoring import CLEAN
from hce.evaluation.statistics import paired_changes
from hce.figures.tables import one_decoder
from hce.metrics import ABSENT, KIND_NAMES, KINDS
from hce.report.markdown import NOTHING, markdown_table, mean_sd, number, points
from hce.report.published import READINGS, SCORES, THRESHOLDS, compare
from hce.report.summary_augmentation import augmentation
from hce.report.summary_changes import changes_of_types_and_studies, limits
from hce.report.summary_decomposition import decomposition, headline
from hce.report.summary_leakage import leakage
from hce.report.summary_reading import (
    bootstrap,
    calibrated_precision,
    controls,
    factorial,
    later_releases,
)
from hce.sets import SEEN_SETS


def summarise(
    tables: Mapping[str, pd.DataFrame],
    run: str,
    fits: Sequence[Sequence[object]],
    note: str | None,
    alpha: float,
) -> str:
    """Writes the summary of a run.

    Args:
        tables: `overall`, `type_changes`, `stratum_changes`, `data_totals`, `published`,
            `report`, the cell report (release, step, quantity, value, published, equal), `audit`,
            the summary of the leakage audit (release, set, quantity, value), `factorial`,
            `calibrated_precision`, `bootstrap`, `decomposition` and `controls`; and `augmentation`
            (quantity, value) if a model uses it.
        run: name of the run.
        fits: [model, loss, seed] of every fit of the config.
        note: what the data are, if not those of the paper (for example "Simulated data"); no
            agreement with published numbers is then claimed. None if they are.
        alpha: family-wise error rate of the tests.

    Returns:
        Markdown that reads well as plain text.
    """
    rows = compare(tables["published"], tables, note)
    # One section compares the decoders; the others show one decoder, to stay readable.
    overall, type_changes, stratum_changes, over_studies = (
        one_decoder(tables[name])
        for name in ("overall", "type_changes", "stratum_changes", "bootstrap")
    )
    baselines = list(type_changes["baseline"].unique())
    parts = [
        f"# Summary of the run {run}",
        _top(note),
        headline(tables["decomposition"], alpha),
        "## Fits",
        _fits(tables["overall"], fits),
        augmentation(tables.get("augmentation")),
        "## Data",
        _data(rows),
        "### Counts at each step",
        _report(tables["report"]),
        "## Published scores",
        _published_scores(rows),
        "### Further published scores",
        _further_scores(rows),
        "### Published changes",
        _published_changes(rows),
        "## Scores of this run",
        _scores(overall, baselines, alpha),
        "## What the gain is made of",
        decomposition(tables["decomposition"], alpha),
        "## Loss by decoder",
        factorial(tables["factorial"], SEEN_SETS),
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
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _remark(row: Mapping[Any, Any] | pd.Series) -> str:
    return "; ".join(part for part in (row["note"], row["why"]) if part)


def _top(note: str | None) -> str:
    if note is None:
        return THRESHOLDS
    return (
        f"**{note}. These are not the data of the paper:** published numbers are shown for "
        "orientation only, and no agreement or disagreement with them is claimed (status "
        '"other data").'
    )


def _fits(overall: pd.DataFrame, fits: Sequence[Sequence[object]]) -> str:
    made = {tuple(map(str, fit)) for fit in overall[["model", "loss", "seed"]].to_numpy()}
    seeds: dict[tuple[str, str], list[str]] = {}
    for model, loss, seed in fits:
        missing = (str(model), str(loss), str(seed)) not in made
        entry = f"{seed} (not available)" if missing else str(seed)
        seeds.setdefault((str(model), str(loss)), []).append(entry)
    rows = [[*names, ", ".join(entries)] for names, entries in seeds.items()]
    return markdown_table(["model", "loss", "seeds"], rows)


def _data(rows: pd.DataFrame) -> str:
    lines = [
        [
            row["set"],
            row["quantity"],
            number(row["value"], row["unit"]),
            number(row["reproduced"], row["unit"]),
            row["status"],
            _remark(row),
        ]
        for row in rows[rows["score"] == ""].to_dict("records")
    ]
    header = ["set", "quantity", "published", "this run", "status", "remark"]
    table = markdown_table(header, lines, right=("published", "this run"))
    return "`reference` is train, val and id together.\n\n" + table


def _report(report: pd.DataFrame) -> str:
    counts = report[["value", "published"]].to_numpy(np.float64)
    names = report[["release", "step", "quantity"]].astype(str).to_numpy().tolist()
    rows = [
        [*line, number(published, ""), number(value, ""), str(word)]
        for line, (value, published), word in zip(
            names, counts, report["equal"].fillna(NOTHING), strict=True
        )
    ]
    header = ["release", "step", "quantity", "published", "this run", "status"]
    meaning = (
        f"`{NOTHING}`: this count was not published, or the cells are not those of the paper.\n\n"
    )
    return meaning + markdown_table(header, rows, right=("published", "this run"))


def _published_scores(rows: pd.DataFrame) -> str:
    scores = rows[rows["quantity"] == "macro_f1"]
    lines = []
    # The two readings of a published number follow one another.
    for (_, every), (_, some) in zip(
        scores[scores["reading"] == READINGS[0]].iterrows(),
        scores[scores["reading"] == READINGS[1]].iterrows(),
        strict=True,
    ):
        lines.append(
            [
                every["source"].split(",")[0],
                every["model"],
                every["loss"] or NOTHING,
                every["set"],
                f"{every['value']:g}",
                _reproduced(every),
                every["status"],
                _reproduced(some),
                some["status"],
                _remark(every),
            ]
        )
    header = ["source", "model", "loss", "set", "published", "all types", "status"]
    header += ["OOD types", "status", "remark"]
    return (
        "Credited macro F1 in per cent, argmax, mean ± standard deviation over seeds, computed in "
        "two ways: over all types of the set, and over those that occur in the OOD set.\n\n"
    ) + markdown_table(header, lines, right=("published", "all types", "OOD types"))


def _reproduced(row: pd.Series) -> str:
    sd = "" if pd.isna(row["sd"]) else f" ± {row['sd']:.1f}"
    return number(row["reproduced"], row["unit"]) + sd


def _further_scores(rows: pd.DataFrame) -> str:
    lines = [
        [
            row["source"].split(",")[0],
            row["model"],
            row["loss"],
            row["set"],
            row["quantity"].replace("_", " "),
            f"{row['value']:g}",
            _reproduced(row),
            row["status"],
        ]
        for _, row in rows[rows["quantity"].isin(SCORES[1:])].iterrows()
    ]
    header = ["source", "model", "loss", "set", "score", "published", "this run", "status"]
    return "Credited, in per cent, argmax, over all types of the set.\n\n" + markdown_table(
        header, lines, right=("published", "this run")
    )


def _published_changes(rows: pd.DataFrame) -> str:
    lines = [
        [
            row["quantity"].replace("_", " "),
            row["model"] or "all",
            row["loss"],
            row["set"],
            f"{row['value']:g}",
            number(row["reproduced"], row["unit"]),
            row["unit"],
            row["status"],
            _remark(row),
        ]
        for row in rows[(rows["score"] != "") & ~rows["quantity"].isin(SCORES)].to_dict("records")
    ]
    header = ["quantity", "model", "loss", "set", "published", "this run", "unit", "status"]
    return "Changes of credited F1 against `ce`, argmax.\n\n" + markdown_table(
        [*header, "remark"], lines, right=("published", "this run")
    )


def _scores(overall: pd.DataFrame, baselines: Sequence[str], alpha: float) -> str:
    parts = [
        "Mean ± standard deviation over seeds, in per cent. A row `hce - ce` is the mean change "
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
