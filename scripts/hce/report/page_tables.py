"""The tables on the page of a run: what a cell shows, and by what its column is sorted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import pandas as pd

from hce.evaluation.scoring import CLEAN
from hce.figures.tables import one_decoder
from hce.names import name
from hce.report.markdown import NOTHING, points
from hce.sets import SEEN_SETS

Row = Mapping[Any, Any]
SCORES = {"credited": "Credited", "study_aware": "Study-aware", "exact": "Exact"}


@dataclass(frozen=True)
class Cell:
    """A cell: its text, the value that it is sorted by, and an address to which it leads."""

    text: str
    value: float | str
    link: str | None = None


@dataclass(frozen=True)
class PageTable:
    """A table with an anchor, a title, a sentence and, where it has no rows, why.

    `columns` maps the name of a column to what it means; `sorted_by` is the column by which the
    rows are sorted at first.
    """

    anchor: str
    title: str
    about: str
    columns: Mapping[str, str]
    rows: Sequence[Sequence[Cell]]
    missing: str
    sorted_by: str = ""


def _word(text: object) -> Cell:
    return Cell(str(text), str(text).lower())


def _count(value: float) -> Cell:
    return Cell(f"{value:,.0f}", float(value))


def _number(value: float, text: str) -> Cell:
    """A number; one that is not known is sorted below all others."""
    return Cell(NOTHING, float("-inf")) if pd.isna(value) else Cell(text, float(value))


def _percent(value: float, sd: float = float("nan")) -> Cell:
    spread = "" if pd.isna(sd) else f" ± {100 * sd:.1f}"
    return _number(value, f"{100 * value:.1f}{spread}")


def _change(row: Row | None) -> Cell:
    if row is None or isnan(row["change"]):
        return Cell(NOTHING, float("-inf"))
    known = not isnan(row["ci_low"])
    interval = f" [{points(row['ci_low'])}, {points(row['ci_high'])}]" if known else ""
    return Cell(points(row["change"]) + interval, float(row["change"]))


def scores(factorial: pd.DataFrame) -> PageTable:
    """Every loss read out by every decoder, over all types of each set that no model has seen."""
    shown = factorial[(factorial["kind"] == "all") & ~factorial["set"].isin(SEEN_SETS)]
    shown = _new_first(shown[~shown["set"].astype(str).str.endswith(CLEAN)])
    rows = [
        [
            *(_word(name(str(row[key]))) for key in ("set", "model", "loss", "decoder")),
            _percent(row["credited_macro_f1"], row["sd"]),
            _percent(row["study_aware_macro_f1"], row["study_aware_sd"]),
            _percent(row["exact_macro_f1"], row["exact_sd"]),
        ]
        for row in shown.to_dict("records")
    ]
    columns = {
        "Set": "OOD: studies that only a newer release has. ID test: held-out donors.",
        "Model": "The model.",
        "Loss": "The loss that it was trained with.",
        "Decoder": "How the answer is read out of the probabilities; argmax is the paper's.",
        "Credited, %": "Macro F1, the label or anything below it is right.",
        "Study-aware, %": "The same, but not where the study has its own label for that.",
        "Exact, %": "Only the label itself is right.",
    }
    about = "Macro F1 over all types of the set, mean ± standard deviation over seeds."
    return PageTable("scores", "Scores", about, columns, rows, "The run has no scores.")


def types(changes: pd.DataFrame, data_types: pd.DataFrame, model: str, on: str) -> PageTable:
    """Every type with its change from the baseline to one loss, the worst first."""
    shown = one_decoder(changes[(changes["model"] == model) & (changes["set"] == on)])
    by_score = {
        score: {row["index"]: row for row in shown[shown["score"] == score].to_dict("records")}
        for score in ("credited_f1", "study_aware_f1")
    }
    cells = data_types.set_index("index")
    rows = []
    for index, row in by_score["credited_f1"].items():
        counts = (cells[column].get(index, 0) for column in (f"cells_{on}", "train_cells"))
        mark = "*" if row["significant"] in (True, "True") else ""
        change, aware = _change(row), _change(by_score["study_aware_f1"].get(index))
        rows.append(
            [
                Cell(row["label"], row["label"].lower(), f"explorer.html#{row['cl_id']}"),
                *map(_count, counts),
                _percent(row["baseline_f1"]),
                _percent(row["f1"]),
                Cell(change.text + mark, change.value),
                aware,
            ]
        )
    rows.sort(key=lambda line: line[5].value)
    baseline, loss = (name(str(next(iter(shown[key]), ""))) for key in ("baseline", "loss"))
    columns = {
        "Type": "Leads to its page in the explorer.",
        "Cells": f"Cells of the type in the set {name(on)}.",
        "Training cells": "Cells of the type that the models were trained on.",
        f"{baseline}, %": f"Credited F1 with {baseline}, mean over seeds.",
        f"{loss}, %": f"Credited F1 with {loss}, mean over seeds.",
        "Change, points": "Change of the credited F1, with its interval over seeds.",
        "Study-aware change": "The same by the study-aware F1.",
    }
    about = (
        f"What {loss} in place of {baseline} changes for each type on {_where(on)}, {name(model)}, "
        "argmax. * significant over seeds after Holm's correction."
    )
    missing = "The run does not have two losses to compare."
    return PageTable("types", "Types", about, columns, rows, missing, "Change, points")


def studies(
    per_stratum: pd.DataFrame, audit: pd.DataFrame, model: str, losses: Sequence[str], on: str
) -> PageTable:
    """Every new study with its scores, the hardest first."""
    shown = one_decoder(per_stratum[(per_stratum["model"] == model) & (per_stratum["set"] == on)])
    shown = shown[shown["kind"] == "study"]
    titles = dict(zip(audit["study"], audit["title"], strict=True))
    means = shown.groupby(["stratum", "loss"])[["credited_macro_f1", "study_aware_macro_f1"]].mean()
    rows = []
    for study, of in shown.groupby("stratum", sort=False):
        found = [
            _percent(means[f"{score}_macro_f1"].get((study, loss), float("nan")))
            for score in ("credited", "study_aware")
            for loss in losses
        ]
        first = of.iloc[0]
        rows.append(
            [
                _word(titles.get(study, study)),
                _count(first["cells"]),
                _count(first["types"]),
                *found,
            ]
        )
    rows.sort(key=lambda line: line[3].value)
    columns = {
        "Study": "Title of the study.",
        "Cells": "Its cells.",
        "Types": "Types that its cells have; a study of few types has an easy mean.",
    }
    for score in ("Credited", "Study-aware"):
        columns |= {
            f"{score}, {name(loss)}, %": f"Macro F1 over the study's types, {name(loss)}."
            for loss in losses
        }
    about = f"Macro F1 in each study of the set {name(on)}, {name(model)}, argmax, mean over seeds."
    missing = "The run has no new studies."
    by = next(iter(list(columns)[3:]), "")
    return PageTable("studies", "Studies", about, columns, rows, missing, by)


def gain(decomposition: pd.DataFrame, on: str) -> PageTable:
    """What the change of the credited macro F1 is made of, for every model."""
    shown = decomposition[(decomposition["set"] == on) & (decomposition["scope"] == "all")]
    rows = []
    for model, of in shown.groupby("model", sort=False):
        parts = {row["part"]: row for row in of.to_dict("records")}
        of_model = [parts.get(part) for part in ("gain", "decoding", "contradiction", "rest")]
        rows.append([_word(name(str(model))), *map(_change, of_model)])
    columns = {
        "Model": "The model.",
        "Gain, points": "Change of the credited macro F1; the three parts add up to it.",
        "Decoding": "What the baseline reaches read out by the ancestor sum, without retraining.",
        "Contradiction": "Credit for answers that the study's own labels contradict.",
        "Rest": "What is left for training with the loss.",
    }
    about = f"What the gain on {_where(on)} is made of, with intervals over studies."
    missing = "That takes both losses, read out by argmax and by ancestor sum."
    return PageTable("gain", "What the gain is made of", about, columns, rows, missing)


def back_off(precision: pd.DataFrame, asked: float = 0.9) -> PageTable:
    """The back-off at the requested precision."""
    shown = precision[(precision["asked"] == asked) & ~precision["set"].isin(SEEN_SETS)]
    shown = _new_first(shown)
    rows = [
        [
            *(_word(name(str(row[key]))) for key in ("set", "model", "loss")),
            _percent(row["right"]),
            _percent(row["coverage"]),
        ]
        for row in shown.to_dict("records")
    ]
    columns = {
        "Set": "OOD: new studies, each with the threshold of the others. ID test: held-out donors.",
        "Model": "The model.",
        "Loss": "The loss that it was trained with.",
        "Right, %": "Share of right answers among those that the author's label decides.",
        "Coverage, %": "Share of the cells that get an answer.",
    }
    about = f"The back-off, asked for types of which {asked:.0%} are right."
    return PageTable("back-off", "Back-off", about, columns, rows, "No precision was calibrated.")


def _new_first(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of new studies, then the others, each in their order."""
    old = ~table["set"].astype(str).str.startswith("ood").to_numpy(bool)
    return table.iloc[old.argsort(kind="stable")]


def _where(on: str) -> str:
    return "new studies" if on == "ood" else "held-out donors"
