"""Selects the rows of the run's tables that a figure shows."""

from collections.abc import Iterable

import pandas as pd

BASELINE = "ce"


def one_decoder(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of decoder `argmax`, or of the first decoder if the run has no argmax."""
    decoders = table["decoder"].unique()
    if len(decoders) == 0:
        return table
    return table[table["decoder"] == ("argmax" if "argmax" in decoders else decoders[0])]


def in_order(losses: Iterable[str], baseline: str = BASELINE) -> list[str]:
    """The losses without repetition: the baseline first, then the others in their order."""
    return sorted(dict.fromkeys(losses), key=lambda loss: loss != baseline)


def baseline_of(changes: pd.DataFrame) -> str:
    """The baseline loss of the changes in `type_changes.tsv`."""
    return next(iter(changes["baseline"]), BASELINE)


def compared_loss(losses: Iterable[str], baseline: str, asked: str) -> str | None:
    """The loss to compare with the baseline: `asked`, otherwise the first other loss, or None."""
    others = [loss for loss in in_order(losses, baseline) if loss != baseline]
    return asked if asked in others else next(iter(others), None)


def scores(overall: pd.DataFrame, evaluation_set: str, score: str) -> pd.DataFrame:
    """One score of one evaluation set, for every fit.

    Args:
        overall: the table `overall.tsv`.
        evaluation_set: such as `id` or `ood`.
        score: such as `credited_macro_f1`.

    Returns:
        Columns model, loss, seed, value, one row per fit; empty if the run lacks the score.
    """
    chosen = overall[(overall["set"] == evaluation_set) & (overall["score"] == score)]
    return one_decoder(chosen)[["model", "loss", "seed", "value"]].dropna()
