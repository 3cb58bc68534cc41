"""Supplementary Figures 1, 9 and 10: the scores by study, and in new diseases and tissues."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hce.figures import marks, style, tables
from hce.figures.bars import F1, score_bars
from hce.figures.changes import significant, tested
from hce.figures.comparison import Comparison
from hce.figures.style import MARGIN, ROW, TITLE, WIDTH

_MOST = 40  # maximum number of strata in a list
_NAMES = 56.0  # width of their names, in mm
_NEW = 6.0  # part of it for the mark of strata that are not in training
_LEFT = 86.0  # left edge of the panels next to a list
_AXIS = 8.0  # room below a list
_HEAD = 8.0  # room above it
_BARS = 62.0  # height of the panels of seen and unseen strata, with their title
_PLURALS = {
    "study": "studies",
    "tissue": "tissues",
    "tissue_general": "general tissues",
    "disease": "diseases",
    "assay": "assays",
}


def draw_studies(
    overall: pd.DataFrame,
    per_stratum: pd.DataFrame,
    stratum_changes: pd.DataFrame,
    audit_studies: pd.DataFrame,
    bootstrap: pd.DataFrame,
    compared: str,
    note: str | None = None,
) -> Figure:
    """Draws the credited macro F1 of every new study, for the baseline and the compared loss.

    Args:
        overall: `overall.tsv`.
        per_stratum: `per_stratum.tsv`.
        stratum_changes: `stratum_changes.tsv`.
        audit_studies: `audit/studies.tsv`: set, study, title, ….
        bootstrap: `bootstrap.tsv`: the changes over all studies, with intervals over studies.
        compared: the loss whose changes are shown, see `Comparison.of`.
        note: a line for the top margin, such as "Simulated data".
    """
    ood = audit_studies[audit_studies["set"] == "ood"]
    titles = dict(zip(ood["study"].astype(str), ood["title"].astype(str), strict=True))
    with style.house_style():
        comparison = Comparison.of(overall, stratum_changes, compared)
        strata = _strata(per_stratum, "study")
        if strata.empty:
            return style.empty_figure(comparison.why_absent(""), note)
        figure = style.new_figure(MARGIN + _list_height(strata), note)
        style.letter(figure, "", f"Every new study (OOD): {F1}", MARGIN, MARGIN)
        remarks = {
            name: _interval(comparison.changes(bootstrap, name)) for name in comparison.models
        }
        _draw_list(figure, MARGIN, strata, stratum_changes, comparison, titles, remarks)
        return figure


def draw_unseen(
    overall: pd.DataFrame,
    per_stratum: pd.DataFrame,
    stratum_changes: pd.DataFrame,
    kinds: Sequence[str],
    compared: str,
    note: str | None = None,
) -> Figure:
    """Draws the scores of OOD cells whose disease or tissue is in training, and of the others.

    A list below has every disease or tissue of the last kind.

    Args:
        overall: `overall.tsv`.
        per_stratum: `per_stratum.tsv`, with the kinds and `<kind>_seen`.
        stratum_changes: `stratum_changes.tsv`.
        kinds: such as tissue_general, tissue.
        compared: the loss whose changes are shown, see `Comparison.of`.
        note: a line for the top margin, such as "Simulated data".
    """
    with style.house_style():
        comparison = Comparison.of(overall, stratum_changes, compared)
        strata = _strata(per_stratum, kinds[-1])
        if strata.empty:
            return style.empty_figure(comparison.why_absent(""), note)
        below = MARGIN + _BARS + 4
        figure = style.new_figure(below + _list_height(strata), note)
        style.letter(figure, "a", f"OOD cells: {F1}", MARGIN, MARGIN)
        handles = [*style.loss_handles(comparison.losses), style.seed_handle()]
        handles += marks.handles(marks.BESIDE, ", mean over seeds")
        style.legend(figure, MARGIN + 4.5, MARGIN, handles)
        _draw_seen(figure, per_stratum, _different(per_stratum, kinds), comparison)
        title = f"The {_PLURALS[kinds[-1]]} of the OOD cells (“new”: not in training)"
        style.letter(figure, "b", title, MARGIN, below)
        _draw_list(figure, below, strata, stratum_changes, comparison, {}, {})
        return figure


def _strata(per_stratum: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Stratum, in_training, cells, types of a kind in the OOD set, the largest stratum first."""
    chosen = per_stratum[(per_stratum["set"] == "ood") & (per_stratum["kind"] == kind)]
    strata = chosen[["kind", "stratum", "in_training", "cells", "types"]]
    strata = strata.drop_duplicates("stratum")
    return strata.sort_values(["cells", "stratum"], ascending=[False, True])


def _different(per_stratum: pd.DataFrame, kinds: Sequence[str]) -> list[str]:
    """The kinds without those that divide the cells as a later one does."""
    chosen: dict[tuple[int, ...], str] = {}
    for kind in kinds:
        of_kind = per_stratum[
            (per_stratum["set"] == "ood") & (per_stratum["kind"] == f"{kind}_seen")
        ]
        divided = of_kind.drop_duplicates("stratum").sort_values("stratum")
        chosen[tuple(divided[["cells", "types"]].to_numpy().ravel())] = kind
    return list(chosen.values())


def _draw_seen(
    figure: Figure, per_stratum: pd.DataFrame, kinds: Sequence[str], comparison: Comparison
) -> None:
    panels = [(kind, stratum) for kind in kinds for stratum in ("seen", "unseen")]
    left, gap = MARGIN + 9, 5.0
    width = (WIDTH - MARGIN - left - gap * (len(panels) - 1)) / len(panels)
    for i, (kind, stratum) in enumerate(panels):
        axes = style.place(
            figure, left + i * (width + gap), MARGIN + TITLE + 8, width, _BARS - TITLE - 14
        )
        rows = tables.one_decoder(
            per_stratum[
                (per_stratum["set"] == "ood")
                & (per_stratum["kind"] == f"{kind}_seen")
                & (per_stratum["stratum"] == stratum)
            ]
        )
        where = "in training" if stratum == "seen" else "not in training"
        title = f"{kind.replace('_', ' (')}{')' if '_' in kind else ''} {where}"
        if rows.empty:
            style.say(axes, f"No OOD cells have a\n{title}.")
            continue
        size = rows.iloc[0]
        values = rows.rename(columns={"credited_macro_f1": "value"})
        beside = {
            kind: rows.rename(columns={f"{kind}_macro_f1": "value"}).dropna(subset="value")
            for kind in marks.BESIDE
        }
        values = values.dropna(subset="value")
        score_bars(axes, values, comparison.models, comparison.losses, beside=beside)
        number = "1 type" if size["types"] == 1 else f"{size['types']} types"
        axes.set_title(
            f"{title}\n{style.thousands(size['cells'])} cells, {number}",
            fontsize=style.SMALL,
            color=style.MUTED,
            loc="left",
            linespacing=1.3,
        )
        axes.tick_params(axis="y", labelleft=i == 0)
        if i == 0:
            axes.set_ylabel(F1)


def _list_height(strata: pd.DataFrame) -> float:
    return TITLE + _HEAD + ROW * min(len(strata), _MOST) + _AXIS


def _draw_list(
    figure: Figure,
    top: float,
    strata: pd.DataFrame,
    stratum_changes: pd.DataFrame,
    comparison: Comparison,
    titles: Mapping[str, str],
    remarks: Mapping[str, str],
) -> None:
    """Draws one row per stratum: its name, cells and types, and per model the scores of two losses.

    Args:
        figure: the figure.
        top: in mm.
        strata: see `_strata`.
        stratum_changes: `stratum_changes.tsv`.
        comparison: the models and losses.
        titles: stratum → name to show, if it differs.
        remarks: model → line above its panel.
    """
    shown = strata.iloc[:_MOST]
    kind = shown["kind"].iloc[0]
    rows_top, height = top + TITLE + _HEAD, ROW * len(shown)
    _write_names(figure, rows_top, shown, titles)
    if len(shown) < len(strata):
        words = f"{len(strata) - len(shown)} smaller {_PLURALS[kind]} are not shown"
        y = 1 - (rows_top + height + 3) / (figure.get_figheight() * 25.4)
        figure.text(MARGIN / WIDTH, y, words, va="center", c=style.MUTED)

    of_kind = stratum_changes[stratum_changes["kind"] == kind]
    gap = 4.0
    count = len(comparison.models)
    width = min((WIDTH - MARGIN - _LEFT - gap * (count - 1)) / count, 60.0)
    for i, model in enumerate(comparison.models):
        axes = style.place(figure, _LEFT + i * (width + gap), rows_top, width, height)
        changes = comparison.changes(of_kind, model)
        title = "\n".join(filter(None, (_summary(changes, model), remarks.get(model))))
        axes.set_title(title, fontsize=style.SMALL, loc="left", linespacing=1.3)
        if changes.empty:
            style.say(axes, comparison.why_absent(model).replace(": ", ":\n"))
            continue
        _draw_dumbbells(axes, shown["stratum"], changes, comparison)
    if handles := _handles(of_kind, comparison):
        style.legend(figure, MARGIN + 4.5, top, handles)


def _write_names(
    figure: Figure, top: float, shown: pd.DataFrame, titles: Mapping[str, str]
) -> None:
    """Writes the strata, one below the other from `top` (mm), with their cells and types."""
    page = figure.get_figheight() * 25.4
    columns = {"cells": _LEFT - 12, "types": _LEFT - 3}
    for text, x in columns.items():
        figure.text(x / WIDTH, 1 - (top - 1.5) / page, text, ha="right", c=style.MUTED)
    # A list of studies has no marks, because all of them are new.
    indent = 0.0 if shown["kind"].iloc[0] == "study" else _NEW
    for i, (stratum, known, cells, types) in enumerate(
        shown[["stratum", "in_training", "cells", "types"]].to_numpy(object)
    ):
        y = 1 - (top + (i + 0.5) * ROW) / page
        name = style.fit(titles.get(str(stratum), str(stratum)), _NAMES - indent)
        if indent and not known:
            figure.text(MARGIN / WIDTH, y, "new", va="center", c=style.MUTED)
        figure.text((MARGIN + indent) / WIDTH, y, name, va="center")
        figure.text(columns["cells"] / WIDTH, y, style.thousands(cells), va="center", ha="right")
        figure.text(columns["types"] / WIDTH, y, str(types), va="center", ha="right")


def _handles(of_kind: pd.DataFrame, comparison: Comparison) -> list[Line2D]:
    """Explains the dots of a list; draws nothing if no model has changes."""
    if of_kind.empty:
        return []
    marks = [(colour, colour, name) for colour, name in _marks(comparison)]
    if tested(of_kind):
        words = "open: change not significant (paired t-test, Holm–Bonferroni)"
        marks.append((_marks(comparison)[-1][0], "white", words))
    else:
        marks.append((style.INK, "white", "open: one seed, no test"))
    return [
        Line2D([], [], ls="", marker="o", ms=3, mew=0.7, mec=edge, mfc=fill, label=words)
        for edge, fill, words in marks
    ]


def _marks(comparison: Comparison) -> list[tuple[str, str]]:
    colours = style.loss_colours(comparison.pair)
    return [(colours[loss], style.name(loss)) for loss in comparison.pair]


def _summary(changes: pd.DataFrame, model: str) -> str:
    if changes.empty or not tested(changes):
        return style.name(model)
    return f"{style.name(model)}: {significant(changes).sum()}/{len(changes)} significant"


def _interval(gain: pd.DataFrame) -> str:
    """The change over all studies with its interval; "" if there is none."""
    if gain.empty:
        return ""
    change, low, high = gain[["change", "ci_low", "ci_high"]].iloc[0]
    if np.isnan(low):
        return f"{style.signed(change, 2)} (one study)"
    return f"{style.signed(change, 2)} ({style.signed(low, 2)} to {style.signed(high, 2)})"


def _draw_dumbbells(
    axes: Axes, strata: pd.Series, changes: pd.DataFrame, comparison: Comparison
) -> None:
    rows = changes.assign(significant=significant(changes)).set_index("stratum").reindex(strata)
    y = np.arange(len(rows))
    (before, _), (after, _) = _marks(comparison)
    axes.hlines(y, 0, 1, color=style.ABSENT, lw=0.35, zorder=1)
    axes.hlines(y, rows["baseline_f1"], rows["f1"], color=style.MUTED, lw=0.9, zorder=2)
    axes.scatter(rows["baseline_f1"], y, s=9, c=before, lw=0.7, edgecolors=before, zorder=3)
    # Open dots have no fill, so that a dot of the baseline below them is visible.
    fills = [after if flag is True else "none" for flag in rows["significant"]]
    axes.scatter(rows["f1"], y, s=9, c=fills, lw=0.7, edgecolors=after, zorder=4)
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), yticks=[], xlabel=F1)
    axes.set_xticks([0, 0.5, 1], labels=["0", "0.5", "1"])
    axes.spines["left"].set_visible(False)
