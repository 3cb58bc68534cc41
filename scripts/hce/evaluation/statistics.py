"""Paired comparisons of losses over the seeds of their fits."""

import gc
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize.elementwise import find_root
from scipy.special import nctdtr
from scipy.stats import chi2
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

from hce.metrics import KINDS

# Scores are read from tables with nine significant digits, so differences that were equal differ
# by up to 2e-9 after rounding. A spread below this is none.
NO_SPREAD = 1e-8
HEAD_COLUMNS = ("model", "set", "decoder", "baseline", "loss")
EFFECT = ("d_z", "d_z_low", "d_z_high")
RESULT_COLUMNS = (
    "seeds",
    "baseline_f1",
    "f1",
    "change",
    "ci_low",
    "ci_high",
    "t",
    "p",
    "test",
    *EFFECT,
    "p_holm",
    "significant",
)
# From this |t| on, the normal part of the noncentral t is lost in the chi part (0.5 % of the ends
# of an interval), and leaving it out saves seconds.
LARGE_T = 100.0


def paired_t(differences: np.ndarray, alpha: float) -> pd.DataFrame:
    """Two-sided paired t-test of each row, with the confidence interval of the mean.

    A row whose differences are all the same has no variance to compare the change with, so t and
    the interval are missing. In the place of the t-test there is the exact sign test, whose p is
    2 / 2ⁿ with n seeds: of all signs that the differences could have, only all + and all − are as
    extreme. Where all are 0, t = 0 and p = 1.

    Args:
        differences: float (units, seeds), one difference a pair.
        alpha: the interval covers 1 - alpha, for example 0.95.

    Returns:
        One row per unit: change (mean difference), ci_low, ci_high, t, p, test (what gave p: `t`,
        `sign`, or `none`), d_z (Cohen's effect size: the change in standard deviations of the
        differences), d_z_low, d_z_high; with fewer than two seeds all but change are missing, and
        test is `none`.
    """
    n_units, n = differences.shape
    table = pd.DataFrame(
        {"change": differences.mean(axis=1) if n else np.full(n_units, np.nan)},
    ).assign(**dict.fromkeys(("ci_low", "ci_high", "t", "p"), np.nan), test="none")
    table = table.assign(**dict.fromkeys(EFFECT, np.nan))
    if n < 2:
        return table
    spread = np.ptp(differences, axis=1) > NO_SPREAD
    error = differences.std(axis=1, ddof=1) / np.sqrt(n)
    half_width = student.isf(alpha / 2, n - 1) * error
    statistic = table["change"].to_numpy() / np.where(spread, error, np.nan)
    table["t"] = statistic
    table["p"] = 2 * student.sf(np.abs(statistic), n - 1)
    table.loc[spread, "test"] = "t"
    unvarying = np.ptp(differences, axis=1) <= NO_SPREAD
    table.loc[unvarying, ["p", "test"]] = [2.0 ** (1 - n), "sign"]
    table["ci_low"] = np.where(spread, table["change"] - half_width, np.nan)
    table["ci_high"] = np.where(spread, table["change"] + half_width, np.nan)
    same = (np.abs(differences) <= NO_SPREAD).all(axis=1)
    table.loc[same, ["change", "ci_low", "ci_high", "t", "p"]] = [0.0, 0.0, 0.0, 0.0, 1.0]
    table.loc[same, "test"] = "t"
    for name, noncentral in zip(EFFECT, _noncentral(statistic, n - 1, alpha), strict=True):
        table[name] = noncentral / np.sqrt(n)
    return table


def _noncentral(t: np.ndarray, df: int, alpha: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The observed t, and the noncentralities under which it is the alpha / 2 extreme.

    Divided by the root of the number of pairs they are d_z and its confidence interval (Cumming and
    Finch, Educ. Psychol. Meas. 61, 532, 2001). Missing where t is.
    """
    ends = []
    for tail in (1 - alpha / 2, alpha / 2):
        exact = _noncentrality(np.clip(t, -LARGE_T, LARGE_T), df, tail)
        limit = t * np.sqrt(chi2.ppf(np.where(t < 0, tail, 1 - tail), df) / df)
        ends.append(np.where(np.abs(t) < LARGE_T, exact, limit))
    return t, ends[0], ends[1]


def _noncentrality(t: np.ndarray, df: int, tail: float) -> np.ndarray:
    """The noncentrality under which a share `tail` lies below t; NaN where t is."""

    def excess(noncentrality: np.ndarray, t: np.ndarray) -> np.ndarray:
        below = nctdtr(df, noncentrality, t)  # falls as the noncentrality grows
        # SciPy has no value for some that are 1 or 0 to the last digit, far to the left or right.
        return np.where(np.isnan(below), noncentrality < 0, below) - tail

    found = np.full(t.shape, np.nan)
    known = ~np.isnan(t)
    end = 10 * (1 + np.abs(t[known]))  # holds for any tail from 1e-10 on
    found[known] = find_root(excess, (-end, end), args=(t[known],)).x
    return found


def paired_changes(
    scores: pd.DataFrame, value: str, unit: Sequence[str], baseline: str, alpha: float
) -> pd.DataFrame:
    """Compares every loss with the baseline loss, unit by unit, fits paired by seed.

    Each unit (a type, a study) is tested by `paired_t`; p is then corrected by Holm's method
    (Scand. J. Stat. 6, 65, 1979) over the units that have a p within the same model, set, decoder
    and loss. A seed that one of the two losses lacks is left out.

    Args:
        scores: columns model, loss, seed, set, decoder, those of `unit`, and `value`.
        value: column of the score to compare.
        unit: columns that name a unit.
        baseline: the loss that the others are compared with.
        alpha: family-wise error rate, and 1 - coverage of the intervals.

    Returns:
        model, set, decoder, baseline, loss, the columns of `unit`, seeds (number of pairs),
        baseline_f1 and f1 (means over the pairs), change (f1 - baseline_f1), the further columns of
        `paired_t`, p_holm, significant. No rows for a model without the baseline.
    """
    view = ["model", "set", "decoder"]
    places = scores[[*view, *unit]].drop_duplicates(ignore_index=True)
    places["family"] = places.groupby(view, sort=False, dropna=False).ngroup()
    numbered = scores.assign(
        place=scores.groupby([*view, *unit], sort=False, dropna=False).ngroup()
    )
    parts = []
    for model, of_model in numbered.groupby("model", sort=False):
        own = places[places["model"] == model]
        # For each loss, one row per view and unit, and one column per seed.
        by_loss = {
            str(loss): rows.pivot(index="place", columns="seed", values=value).reindex(own.index)
            for loss, rows in of_model.groupby("loss", sort=False)
        }
        for loss in by_loss:
            if baseline in by_loss and loss != baseline:
                compared = _compare(by_loss[baseline], by_loss[loss], own["family"], alpha)
                parts.append(
                    pd.concat([own, compared], axis=1).assign(baseline=baseline, loss=loss)
                )
    columns = [*HEAD_COLUMNS, *unit, *RESULT_COLUMNS]
    if not parts:
        return pd.DataFrame(columns=columns)
    table = pd.concat(parts).sort_values("family", kind="stable", ignore_index=True)
    return table[columns].astype(dict.fromkeys(HEAD_COLUMNS, "str"))


def all_changes(
    scores: pd.DataFrame, end: str, unit: Sequence[str], baseline: str, alpha: float
) -> pd.DataFrame:
    """`paired_changes` of every kind of score that a table has.

    Args:
        scores: as there, with a column `<kind>_<end>` for each of `metrics.KINDS`.
        end: `f1` or `macro_f1`.
        unit: see there.
        baseline: see there.
        alpha: see there.

    Returns:
        The same columns, and score (the column that was compared) before those of `unit`. Each
        score has families of its own.
    """
    parts = []
    for kind in KINDS:
        part = paired_changes(scores, f"{kind}_{end}", unit, baseline, alpha)
        part.insert(len(HEAD_COLUMNS), "score", f"{kind}_{end}")
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _compare(
    before: pd.DataFrame, after: pd.DataFrame, family: pd.Series, alpha: float
) -> pd.DataFrame:
    """Compares two tables of scores with one row per unit and one column per seed.

    Holm's correction is within each value of `family`.
    """
    seeds = [seed for seed in before.columns if seed in after.columns]
    old = before[seeds].to_numpy(np.float64)
    new = after[seeds].to_numpy(np.float64)
    table = paired_t(new - old, alpha).set_index(before.index)
    table.insert(0, "seeds", len(seeds))
    table.insert(1, "baseline_f1", old.mean(axis=1) if seeds else np.nan)
    table.insert(2, "f1", new.mean(axis=1) if seeds else np.nan)
    corrected = pd.Series(np.nan, table.index)
    rejected = pd.Series(False, table.index)
    # Each correction collects garbage, which takes the longer the more is imported; what is frozen
    # is not looked through.
    gc.freeze()
    try:
        for _, p in table["p"].dropna().groupby(family):
            rejected[p.index], corrected[p.index], *_ = multipletests(p, alpha, method="holm")
    finally:
        gc.unfreeze()
    return table.assign(p_holm=corrected, significant=rejected)


def smallest_rejecting_t(seeds: int, tests: int, alpha: float) -> float:
    """|t| that the first of several tests must exceed to be rejected by Holm's method.

    Args:
        seeds: pairs in each test, at least 2.
        tests: number of tests.
        alpha: family-wise error rate.
    """
    return float(student.isf(alpha / tests / 2, seeds - 1))
