"""The summary's sections on the tests over seeds: what changed, and what seeds cannot show."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import t as student

from hce.evaluation.statistics import smallest_rejecting_t
from hce.report.markdown import markdown_table, number, points
from hce.sets import SEEN_SETS

# Scores that are shown: those of credited and study-aware F1, of types or of studies.
SCORES = {
    f"{kind}_{end}": name
    for kind, name in (("credited", "credited"), ("study_aware", "study-aware"))
    for end in ("f1", "macro_f1")
}
# Number of types named in a list of gains or losses.
NAMED = 5


def changes_of_types_and_studies(types: pd.DataFrame, studies: pd.DataFrame, alpha: float) -> str:
    """How many types and studies changed, and which types the most.

    Args:
        types: `type_changes.tsv`, of one decoder.
        studies: the studies of `stratum_changes.tsv`, of one decoder.
        alpha: family-wise error rate of the tests.

    Returns:
        Markdown without a heading of its own.
    """
    if types.empty:
        return "No model has the baseline and another loss, so there is nothing to compare."
    parts = [
        "Paired t-tests over seeds of F1 (types) and macro F1 (studies), with Holm's correction to "
        f"a family-wise error rate of {alpha:g} over the types or studies of a row. `same`: of the "
        "tested, those that change by the same in every seed. They have no variance for a t-test, "
        "and the exact sign test takes its place: with n seeds its p is 2 / 2ⁿ, 0.125 with four, "
        "so that fewer than six seeds cannot make it significant. `no test`: one seed.",
        "### Types",
        _counted(types),
        "### Studies",
        _counted(studies),
        f"### Largest changes of types (points of F1, at most {NAMED} gains and losses)",
        _extremes(types),
    ]
    return "\n\n".join(parts)


def _families(changes: pd.DataFrame) -> Iterator[tuple[list[str], pd.DataFrame]]:
    """The rows that are tested together, and their model, decoder, set, comparison and score."""
    shown = changes[~changes["set"].isin(SEEN_SETS) & changes["score"].isin(SCORES)]
    keys = ["model", "decoder", "set", "baseline", "loss", "score"]
    for (model, decoder, name, baseline, loss, score), group in shown.groupby(keys, sort=False):
        head = [str(model), str(decoder), str(name), f"{loss} - {baseline}"]
        yield [*head, SCORES[str(score)]], group


_FAMILY = ["model", "decoder", "set", "comparison", "score"]


def _counted(changes: pd.DataFrame) -> str:
    rows = []
    for names, group in _families(changes):
        significant = group["significant"].astype(bool)
        tested = int(group["p"].notna().sum())
        same = int((group["test"] == "sign").sum())
        better = int((significant & (group["change"] > 0)).sum())
        worse = int((significant & (group["change"] < 0)).sum())
        counts = [len(group) - tested, tested, same, better, worse, tested - better - worse]
        rows.append([*names, *map(str, counts)])
    numbers = ["no test", "tested", "same", "better", "worse", "not significant"]
    return markdown_table([*_FAMILY, *numbers], rows, right=numbers)


def _extremes(changes: pd.DataFrame) -> str:
    lines = []
    for names, group in _families(changes):
        ranked = group.dropna(subset="change").sort_values("change", kind="stable")
        lines.append(f"* {', '.join(names)}")
        for word, part in (
            ("gains", ranked[ranked["change"] > 0].iloc[::-1]),
            ("losses", ranked[ranked["change"] < 0]),
        ):
            ends = part[:NAMED][["label", "change"]].to_numpy().tolist()
            named = "; ".join(f"{label} {points(change)}" for label, change in ends)
            lines.append(f"    * {word}: {named or 'none'}")
    return "\n".join(lines)


def limits(changes: pd.DataFrame, alpha: float) -> str:
    """What the tests over seeds would find, and what they say nothing about.

    Args:
        changes: `type_changes.tsv`, of one decoder.
        alpha: family-wise error rate of the tests.

    Returns:
        Markdown without a heading.
    """
    general = (
        "Seeds vary the initial weights and the order of the cells, not the data. The tests are "
        "about these training cells and these evaluation cells and do not cover other donors or "
        "studies. More seeds do not make the F1 of a rare type more certain. A type without a "
        "significant change may still have changed."
    )
    rows = []
    for names, group in _families(changes):
        tested = group[group["p"].notna()]
        if tested.empty:
            continue
        seeds = int(tested["seeds"].iloc[0])
        limit = smallest_rejecting_t(seeds, len(tested), alpha)
        width = tested["ci_high"] - tested["ci_low"]
        # Types with equal scores under both losses have no spread.
        error = width[width > 0].median() / 2 / student.isf(alpha / 2, seeds - 1)
        needed = (limit, limit / np.sqrt(seeds), 100 * limit * error)
        numbers = [number(value, "points") for value in needed]
        rows.append([*names, str(seeds), str(len(tested)), *numbers])
    if not rows:
        return (
            "Nothing was tested: a test needs two losses with two seeds in common. Differences in "
            "this summary are single observations without a measure of their spread.\n\n"
        ) + general
    numbers_header = ["seeds", "types", "t", "in sd", "in points"]
    return "\n\n".join(
        (
            "Holm's method rejects nothing unless a type has |t| above `t`: a mean change of more "
            "than `in sd` standard deviations of the differences over seeds, which for the type "
            "with the median spread is more than `in points` points of F1. Changes that are large "
            "and similar in every seed are found; moderate ones are missed.",
            markdown_table(
                [*_FAMILY, *numbers_header],
                rows,
                right=numbers_header,
            ),
            general,
        )
    )
