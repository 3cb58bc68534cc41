"""The summary's sections on decoders, back-off, other studies, later releases and controls."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from hce.evaluation.scoring import CLEAN
from hce.evaluation.statistics import paired_changes
from hce.report.markdown import NOTHING, markdown_table, mean_sd, points

SCORE = "credited_macro_f1"
SCORES = {SCORE: "credited", "exact_macro_f1": "exact"}
ASKED = 0.9  # the requested precision that is shown
KINDS = {
    "all": "all types",
    "internal": "internal",
    "connected_leaf": "connected leaves",
    "isolated_leaf": "isolated leaves",
}


def factorial(table: pd.DataFrame, overall: pd.DataFrame, skipped: Sequence[str]) -> str:
    """Every loss with every decoder.

    Args:
        table: `factorial.tsv`: model, set, loss, decoder, kind, seeds, credited_macro_f1, sd,
            share_of_gain.
        overall: `overall.tsv`, for the exact scores.
        skipped: sets to leave out, which were used in training or selection.

    Returns:
        Markdown without a heading.
    """
    chosen = table[~table["set"].isin(skipped) & ~table["set"].astype(str).str.endswith(CLEAN)]
    kinds = [kind for kind in KINDS if kind in set(chosen["kind"])]
    line = ["set", "model", "loss", "decoder"]
    exact = {
        names: mean_sd(fits["value"])
        for names, fits in overall[overall["score"] == "exact_macro_f1"].groupby(line)
    }
    rows = []
    for names, group in chosen.groupby(line, sort=False):
        cells = {row["kind"]: _cell(row) for row in group.to_dict("records")}
        credited = [cells.get(kind, NOTHING) for kind in kinds]
        rows.append([*map(str, names), *credited, exact.get(names, NOTHING)])
    columns = [*(KINDS[kind] for kind in kinds), "exact, all types"]
    return (
        "Credited macro F1 in per cent, mean ± standard deviation over seeds, over all types of "
        "the set and over the types of each kind; last, the exact macro F1. In brackets, the share "
        "of the gain: the change from the baseline with argmax to this row, as a share of the "
        "change to the loss `statistics.compared` with argmax. What a decoder reaches with the "
        "baseline needs no other loss; a negative share is worse than argmax.\n\n"
    ) + markdown_table([*line, *columns], rows, right=columns)


def _cell(row: Mapping[Any, Any]) -> str:
    if pd.isna(row[SCORE]):
        return NOTHING
    sd = "" if pd.isna(row["sd"]) else f" ± {100 * row['sd']:.1f}"
    share = "" if pd.isna(row["share_of_gain"]) else f" ({row['share_of_gain']:.0%})"
    return f"{100 * row[SCORE]:.1f}{sd}{share}"


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
        "other donors of the training studies (`id`). For new studies the precision is measured "
        "and not guaranteed. *Coverage*: share of cells with a type. *Right*: share of right types "
        "among those that the author's label decides. *Confirmed*: share of all types that are the "
        "label or above it. *Credited*: the same, or below the label. "
        f"`{NOTHING}`: the precision was not reached on the validation cells. One seed each; other "
        "precisions: `tables/calibrated_precision.tsv`.\n\n"
    ) + markdown_table(["set", "model", "loss", "threshold", *shares], rows, ["threshold", *shares])


def bootstrap(table: pd.DataFrame, skipped: Sequence[str], alpha: float) -> str:
    """The overall changes, with intervals from resampled studies.

    Args:
        table: `bootstrap.tsv`: model, set, decoder, baseline, loss, score, studies, draws, change,
            ci_low, ci_high, p.
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
            str(row["score"]).replace("_", " "),
            f"{row['studies']:.0f}",
            NOTHING if pd.isna(row["change"]) else points(row["change"]),
            NOTHING
            if pd.isna(row["ci_low"])
            else f"{points(row['ci_low'])} to {points(row['ci_high'])}",
            NOTHING if pd.isna(row["p"]) else f"{row['p']:.2g}",
        ]
        for row in table.to_dict("records")
    ]
    header = ["set", "model", "decoder", "comparison", "score"]
    numbers = ["studies", "change", "interval", "p"]
    draws = int(table["draws"].max())
    return (
        f"Change in points with its {100 * (1 - alpha):g}% interval over {draws:,} draws of the "
        "studies of the set with replacement; both losses use the same draws, and seeds are "
        "averaged. Unlike the tests over seeds, the interval covers other studies like these. A "
        "set with one study has no interval.\n\n"
    ) + markdown_table([*header, *numbers], rows, right=numbers)


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
        "Macro F1 in per cent, mean ± standard deviation over seeds; the last columns have the "
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
    scores = overall[(overall["score"] == SCORE) & overall["set"].isin(ood_sets)]
    found = {
        (row["model"], row["decoder"], row["set"], f"{row['loss']} - {name}"): row["change"]
        for name in baselines
        # The error rate only affects intervals, which are not shown.
        for row in paired_changes(scores, "value", ["score"], name, 0.05).to_dict("records")
    }
    losses = list(dict.fromkeys(scores["loss"]))
    compared = list(dict.fromkeys(comparison for *_, comparison in found))
    rows = []
    for (model, decoder), fits in scores.groupby(["model", "decoder"], sort=False):
        for name in ood_sets:
            at = fits[fits["set"] == name]
            values = [mean_sd(at.loc[at["loss"] == loss, "value"]) for loss in losses]
            changes = [found.get((model, decoder, name, c), float("nan")) for c in compared]
            gains = [NOTHING if pd.isna(change) else points(change) for change in changes]
            rows.append([str(model), str(decoder), name, *values, *gains])
    columns = [*losses, *compared]
    return (
        "Credited macro F1 in per cent on the studies that are new in each release, mean ± "
        "standard deviation over seeds, each over the types of its set; changes in points.\n\n"
    ) + markdown_table(["model", "decoder", "set", *columns], rows, right=columns)
