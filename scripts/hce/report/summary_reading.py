"""The summary's sections on decoders, back-off, other studies, later releases and controls."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from hce.evaluation.scoring import CLEAN
from hce.evaluation.statistics import paired_changes
from hce.metrics import KIND_NAMES
from hce.report.markdown import NOTHING, markdown_table, mean_sd, points

SCORE = "credited_macro_f1"
SCORES = {f"{kind}_macro_f1": name for kind, name in KIND_NAMES.items()}
ASKED = 0.9  # the requested precision that is shown
KINDS = {
    "all": "all types",
    "internal": "internal",
    "connected_leaf": "connected leaves",
    "isolated_leaf": "isolated leaves",
}


def factorial(table: pd.DataFrame, parts: pd.DataFrame, skipped: Sequence[str]) -> str:
    """Every loss with every decoder.

    Args:
        table: `factorial.tsv`: model, set, loss, decoder, kind, seeds, credited_macro_f1, sd,
            share_of_gain, study_aware_macro_f1, study_aware_sd, exact_macro_f1, exact_sd.
        parts: `decomposition.tsv`, which has the interval of each gain over studies.
        skipped: sets to leave out, which were used in training or selection.

    Returns:
        Markdown without a heading.
    """
    chosen = table[~table["set"].isin(skipped) & ~table["set"].astype(str).str.endswith(CLEAN)]
    kinds = [kind for kind in KINDS if kind in set(chosen["kind"])]
    gained = parts[(parts["part"] == "gain") & (parts["ci_low"] > 0)]
    gains = {
        (row["set"], row["model"], row["scope"]): float(row["change"])
        for row in gained.to_dict("records")
    }
    starts = {
        (row["set"], row["model"], row["kind"]): row
        for row in chosen[chosen["share_of_gain"] == 0].to_dict("records")
    }
    line = ["set", "model", "loss", "decoder"]
    others = ("study_aware", "exact")
    rows = []
    for names, group in chosen.groupby(line, sort=False):
        by_kind = {row["kind"]: row for row in group.to_dict("records")}
        cells = []
        for kind in kinds:
            key = (names[0], names[1], kind)
            cells.append(_cell(by_kind.get(kind), starts.get(key), gains.get(key, 0.0)))
        cells += [_with_sd(by_kind["all"], f"{score}_macro_f1", f"{score}_sd") for score in others]
        rows.append([*map(str, names), *cells])
    columns = [*(KINDS[kind] for kind in kinds), *(f"{KIND_NAMES[k]}, all types" for k in others)]
    return (
        "Credited macro F1 in %, mean ± standard deviation over seeds, over all types of "
        "the set and over the types of each kind; last, the study-aware and the exact macro F1. In "
        "brackets, the share of the gain: the change from the baseline with argmax to this row, as "
        "a share of the change to the loss `statistics.compared` with argmax. It is given where "
        "the interval of the gain over studies is above 0 and both the gain and the change to this "
        "row exceed the standard deviations over seeds. What a decoder reaches with the baseline "
        "needs no other loss; a negative share is worse than argmax.\n\n"
    ) + markdown_table([*line, *columns], rows, right=columns)


def _cell(row: Mapping[Any, Any] | None, start: Mapping[Any, Any] | None, gain: float) -> str:
    """A score, with its change since `start` as a share of the gain if both exceed the noise."""
    if row is None:
        return NOTHING
    text = _with_sd(row, SCORE, "sd")
    if start is None or pd.isna(row["share_of_gain"]):
        return text
    noise = max((sd for sd in (row["sd"], start["sd"]) if not pd.isna(sd)), default=0.0)
    beyond = min(gain, abs(row[SCORE] - start[SCORE])) > noise
    return f"{text} ({row['share_of_gain']:.0%})" if beyond else text


def _with_sd(row: Mapping[Any, Any], score: str, sd: str) -> str:
    if pd.isna(row[score]):
        return NOTHING
    return f"{100 * row[score]:.1f}" + ("" if pd.isna(row[sd]) else f" ± {100 * row[sd]:.1f}")


def calibrated_precision(table: pd.DataFrame, skipped: Sequence[str]) -> str:
    """The calibrated precision of the model files' back-off, and the precision on each set.

    Args:
        table: `calibrated_precision.tsv`: model, loss, seed, set, asked, threshold, coverage,
            right, confirmed, credited.
        skipped: sets to leave out, which were used in training or selection.

    Returns:
        Markdown without a heading.
    """
    chosen = table[(table["asked"] == ASKED) & ~table["set"].isin(skipped)]
    shares = ["coverage", "right", "confirmed", "credited"]
    rows = [
        [
            *(str(row[name]) for name in ("set", "model", "loss")),
            NOTHING if pd.isna(row["threshold"]) else f"{row['threshold']:g}",
            *(NOTHING if pd.isna(row[name]) else f"{row[name]:.1%}" for name in shares),
        ]
        for row in chosen.sort_values("set", kind="stable").to_dict("records")
    ]
    return (
        f"The back-off of a model file (`models/`) is calibrated for a precision of {ASKED:.0%} on "
        "the new studies, each with the threshold that the others give; where there are too few, "
        "on other donors of the training studies, and then nothing is promised of new studies. "
        "*Coverage*: share of cells with an answer. *Right*: share of right answers among those "
        "that the author's label decides. *Confirmed*: share of all answers that are the label or "
        "above it. *Credited*: the same, or below the label and not contradicted by the study's "
        f"own labels. `{NOTHING}`: the precision was not reached. One seed each; other "
        "precisions: `tables/calibrated_precision.tsv`.\n\n"
    ) + markdown_table(["set", "model", "loss", "threshold", *shares], rows, ["threshold", *shares])


def bootstrap(table: pd.DataFrame, skipped: Sequence[str], alpha: float) -> str:
    """The overall changes, with intervals from resampled studies, donors and seeds.

    Args:
        table: `bootstrap.tsv`: model, set, decoder, baseline, loss, score, studies, draws, change,
            ci_low, ci_high, p, donors, nested_low, nested_high, nested_p.
        skipped: sets to leave out, which were used in training or selection.
        alpha: 1 - coverage of the intervals.

    Returns:
        Markdown without a heading.
    """
    table = table[~table["set"].isin(skipped)]
    if table.empty:
        return "No model has the baseline and another loss, so there is nothing to compare."
    rows = [
        [
            *(str(row[name]) for name in ("set", "model", "decoder")),
            f"{row['loss']} - {row['baseline']}",
            SCORES[row["score"]],
            f"{row['studies']:.0f}",
            NOTHING if pd.isna(row["change"]) else points(row["change"]),
            _interval(row["ci_low"], row["ci_high"]),
            NOTHING if pd.isna(row["p"]) else f"{row['p']:.2g}",
            f"{row['donors']:.0f}",
            _interval(row["nested_low"], row["nested_high"]),
        ]
        for row in table.to_dict("records")
    ]
    header = ["set", "model", "decoder", "comparison", "macro F1"]
    numbers = ["studies", "change", "interval", "p", "donors", "nested"]
    draws = int(table["draws"].max())
    return (
        f"Change in points with its {100 * (1 - alpha):g}% interval over {draws:,} draws of the "
        "studies of the set with replacement; both losses use the same draws, and seeds are "
        "averaged. `nested` is the interval if donors are drawn within the drawn studies, and "
        "seeds as well. Unlike the tests over seeds, these intervals cover other studies like "
        "these. A set with one study has none.\n\n"
    ) + markdown_table([*header, *numbers], rows, right=numbers)


def _interval(low: float, high: float) -> str:
    return NOTHING if pd.isna(low) else f"{points(low)} to {points(high)}"


def controls(table: pd.DataFrame, overall: pd.DataFrame, skipped: Sequence[str]) -> str:
    """Scores after training with another hierarchy, or stopping at another epoch.

    Args:
        table: `controls.tsv`: control, model, loss, seed, set, decoder, score, value.
        overall: `overall.tsv`, for the scores of the run's losses with the same seeds.
        skipped: sets to leave out, which were used in training or selection.

    Returns:
        Markdown without a heading.
    """
    chosen = table[~table["set"].isin(skipped) & ~table["set"].astype(str).str.endswith(CLEAN)]
    if chosen.empty:
        return "The config has no controls."
    names = ["set", "control", "model", "loss", "decoder"]
    own = overall[overall["score"] == SCORE]
    losses = list(dict.fromkeys(own["loss"]))
    rows = []
    for view, fits in chosen.groupby(names, sort=False):
        same = own[own["seed"].isin(fits["seed"])]
        for column, name in zip(names, view, strict=True):
            if column in ("set", "model", "decoder"):
                same = same[same[column] == name]
        values = [fits.loc[fits["score"] == score, "value"] for score in SCORES]
        values += [same.loc[same["loss"] == loss, "value"] for loss in losses]
        rows.append([*map(str, view), *map(mean_sd, values)])
    columns = [*SCORES.values(), *(f"credited of {loss}" for loss in losses)]
    return (
        "Macro F1 in %, mean ± standard deviation over seeds; the last columns have the "
        "losses of the run with the same seeds. `docs/science.md` explains the controls and what "
        "follows from them.\n\n"
    ) + markdown_table([*names, *columns], rows, right=columns)


def later_releases(overall: pd.DataFrame, baselines: Sequence[str]) -> str:
    """Scores on the new studies of each release, one row per release.

    Args:
        overall: `overall.tsv`, with the OOD sets in the order of the config.
        baselines: losses that the others are compared with; empty if nothing is compared.

    Returns:
        Markdown without a heading; a sentence if there are fewer than two newer releases.
    """
    sets = [str(name) for name in dict.fromkeys(overall["set"])]
    ood_sets = [name for name in sets if name.startswith("ood") and not name.endswith(CLEAN)]
    if len(ood_sets) < 2:
        word = "one newer release" if ood_sets else "no newer release"
        return f"The run has {word}, so there are no later releases to compare."
    shown = {score: name for score, name in SCORES.items() if name != "exact"}
    scores = overall[overall["score"].isin(shown) & overall["set"].isin(ood_sets)]
    view = ["model", "decoder", "score"]
    found = {
        (*(row[key] for key in (*view, "set")), f"{row['loss']} - {name}"): row["change"]
        for name in baselines
        # The error rate only affects intervals, which are not shown.
        for row in paired_changes(scores, "value", ["score"], name, 0.05).to_dict("records")
    }
    losses = list(dict.fromkeys(scores["loss"]))
    compared = list(dict.fromkeys(comparison for *_, comparison in found))
    rows = []
    for (model, decoder, score), fits in scores.groupby(view, sort=False):
        for name in ood_sets:
            at = fits[fits["set"] == name]
            values = [mean_sd(at.loc[at["loss"] == loss, "value"]) for loss in losses]
            changes = [found.get((model, decoder, score, name, c), float("nan")) for c in compared]
            gains = [NOTHING if pd.isna(change) else points(change) for change in changes]
            rows.append([str(model), str(decoder), shown[str(score)], name, *values, *gains])
    columns = [*losses, *compared]
    return (
        "Macro F1 in % on the studies that are new in each release, mean ± "
        "standard deviation over seeds, each over the types of its set; changes in points.\n\n"
    ) + markdown_table(["model", "decoder", "macro F1", "set", *columns], rows, right=columns)
