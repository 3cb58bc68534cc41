"""The headline of a run: five sentences, the same at the top of the summary and of its page."""

from collections.abc import Iterable, Mapping
from math import isnan
from typing import Any

import pandas as pd

from hce.figures.tables import one_decoder
from hce.names import name
from hce.report.markdown import points

# The requested precision of the back-off that the last sentence is about.
ASKED = 0.9
# Kind of score → what the third sentence says of it.
MEANINGS = {
    "credited": "if answers below the label are credited",
    "study_aware": "if they are only where the study's own labels allow it",
    "exact": "if only the label itself is right",
}
Row = Mapping[Any, Any]


def headline(
    tables: Mapping[str, pd.DataFrame], model: str, note: str | None, alpha: float
) -> list[str]:
    """Says what was compared, on what data, what it gives, what of it is what, and what holds.

    Args:
        tables: `overall`, `data_totals`, `bootstrap`, `decomposition` and `calibrated_precision`.
        model: the model that is spoken of; in a run without it, the first model.
        note: what the data are, if not those of the paper; None if they are.
        alpha: 1 - coverage of the intervals.

    Returns:
        Five sentences or groups of sentences, without markup. What the run lacks is said.
    """
    gains = of_one_loss(one_decoder(tables["bootstrap"]), tables["decomposition"])
    new = "ood" in set(tables["overall"]["set"])
    on = "ood" if new else "id"
    where = "new studies" if new else "held-out donors"
    models = [str(m) for m in dict.fromkeys(tables["overall"]["model"])]
    model = model if model in models else models[0]
    return [
        _compared(tables["overall"], gains),
        _data(tables["data_totals"], note),
        _gains(gains[gains["set"] == on], model, where, alpha),
        _parts(tables["decomposition"].query("set == @on and scope == 'all'"), model),
        _relied_on(tables["calibrated_precision"], model),
    ]


def of_one_loss(changes: pd.DataFrame, decomposition: pd.DataFrame) -> pd.DataFrame:
    """The changes to the loss that the decomposition is about, or else to the first loss."""
    losses = [*decomposition["loss"], *changes["loss"]]
    known = set(changes["loss"])
    return changes[changes["loss"] == next((loss for loss in losses if loss in known), None)]


def _compared(overall: pd.DataFrame, gains: pd.DataFrame) -> str:
    models = [name(str(model)) for model in dict.fromkeys(overall["model"])]
    losses = [name(str(loss)) for loss in dict.fromkeys(overall["loss"])]
    seeds = int(overall["seed"].nunique())
    each = f"{seeds} seeds" if seeds > 1 else "one seed"
    word, all_of = ("model is", "") if len(models) == 1 else ("models are", "each ")
    trained = f"the {word} {_listed(models)}, {all_of}trained with {each}"
    if gains.empty:
        said = "loss is" if len(losses) == 1 else "losses are"
        return f"The run compares nothing: its {said} {_listed(losses)}; {trained}."
    return f"The run compares the losses {_listed(losses)}; {trained}."


def _data(totals: pd.DataFrame, note: str | None) -> str:
    known = {str(row["set"]): row for row in totals.to_dict("records")}
    said = "The data are those of the paper" if note is None else f"{note}"
    if "train" in known:
        said += f": {_counted(known['train'])} for training"
    new = [row for key, row in known.items() if key.startswith("ood")]
    if not new:
        return f"{said}; the run has no new studies."
    return f"{said}, and as new studies {_listed(map(_counted, new))}."


def _counted(row: Row) -> str:
    studies = "study" if row["studies"] == 1 else "studies"
    return f"{row['cells']:,} cells of {row['types']} types from {row['studies']} {studies}"


def _gains(gains: pd.DataFrame, model: str, where: str, alpha: float) -> str:
    gains = gains[gains["model"] == model]
    if gains.empty:
        return "Without two losses to compare, the run says nothing about a gain."
    baseline, loss = (name(str(gains[key].iloc[0])) for key in ("baseline", "loss"))
    rows = {str(row["score"]): row for row in gains.to_dict("records")}
    changes = [
        f"by {_change(rows.get(f'{kind}_macro_f1'))} {meaning}"
        for kind, meaning in MEANINGS.items()
    ]
    interval = (
        "there is no interval over studies, because the set has one"
        if gains["ci_low"].isna().all()
        else f"in brackets the {100 * (1 - alpha):g}% interval over studies"
    )
    return (
        f"On {where}, {loss} in place of {baseline} changes the macro F1 of {_the(model)} "
        f"{_listed(changes)} (in points; {interval})."
    )


def _change(row: Row | None) -> str:
    if row is None or isnan(row["change"]):
        return "an unknown amount"
    if isnan(row["ci_low"]):
        return points(row["change"])
    return f"{points(row['change'])} [{points(row['ci_low'])} to {points(row['ci_high'])}]"


def _parts(decomposition: pd.DataFrame, model: str) -> str:
    parts = {
        str(row["part"]): row
        for row in decomposition[decomposition["model"] == model].to_dict("records")
    }
    if not parts:
        return (
            "What the gain is made of is unknown: that takes both losses, read out by argmax and "
            "by ancestor sum."
        )
    loss, baseline = (name(str(decomposition[key].iloc[0])) for key in ("loss", "baseline"))
    return (
        f"Of the credited change, {_part(parts['decoding'])} is decoding, which {baseline} gets "
        f"without retraining; {_part(parts['contradiction'])} is credit for answers that the "
        f"studies' own labels contradict; and {_part(parts['rest'])} is left for training with "
        f"{loss}."
    )


def _part(row: Row) -> str:
    if isnan(row["change"]):
        return "an unknown part"
    within = not isnan(row["ci_low"]) and row["ci_low"] <= 0 <= row["ci_high"]
    return points(row["change"]) + (" (within noise)" if within else "")


def _relied_on(precision: pd.DataFrame, model: str) -> str:
    asked = precision[(precision["asked"] == ASKED) & (precision["model"] == model)]
    found = asked.dropna(subset=["right"])
    if found.empty:
        return (
            f"No precision of {ASKED:.0%} is calibrated for an annotator to rely on: it was not "
            "reached, or the run has no model file."
        )
    said = [
        f"{_precisions(rows)} with {name(str(loss))}"
        for loss, rows in found.groupby("loss", sort=False)
    ]
    return (
        f"Asked for types of which {ASKED:.0%} are right, {_the(model)} gives "
        f"{_listed(said)}; an annotator of a study of their own should expect the numbers for new "
        "studies."
    )


def _precisions(rows: pd.DataFrame) -> str:
    right = {str(row["set"]): f"{row['right']:.0%}" for row in rows.to_dict("records")}
    places = {"id": "on held-out donors", "ood": "on new studies"}
    return _listed(f"{right[key]} {place}" for key, place in places.items() if key in right)


def _the(model: str) -> str:
    return {"mlp": "the MLP", "linear": "the linear model"}.get(model, name(model))


def _listed(words: Iterable[str]) -> str:
    *most, last = list(words) or [""]
    return f"{', '.join(most)} and {last}" if most else last
