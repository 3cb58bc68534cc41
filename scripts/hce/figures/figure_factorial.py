"""Figure of all losses with all decoders: effects of training and of decoding."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hce.figures import marks, style, tables
from hce.figures.bars import F1
from hce.figures.style import MARGIN, TITLE, WIDTH

_KINDS = {
    "all": "all types",
    "internal": "internal types",
    "connected_leaf": "connected leaves",
    "isolated_leaf": "isolated leaves",
}
_LEFT = 27.0  # left edge of the panels, to the right of the names of decoders
_TOP = MARGIN + TITLE + 4
_SHARES = 34.0  # width of the table of shares


def draw_factorial(factorial: pd.DataFrame, note: str | None = None) -> Figure:
    """Draws the score of every loss with every decoder, by kind of type.

    Args:
        factorial: `factorial.tsv`: model, set, loss, decoder, kind, seeds, credited_macro_f1, sd,
            share_of_gain, study_aware_macro_f1, exact_macro_f1, ….
        note: a line for the top margin, such as "Simulated data".
    """
    table = factorial[factorial["set"] == "ood"]
    with style.house_style():
        if table.empty:
            return style.empty_figure("The run has no OOD data.", note)
        models = list(dict.fromkeys(table["model"]))
        losses = tables.in_order(table["loss"])
        decoders = list(dict.fromkeys(table["decoder"]))
        kinds = [kind for kind in _KINDS if kind in set(table["kind"])]
        inner = max(3.2 * len(decoders), 12.0)
        row = inner + 12.0
        figure = style.new_figure(_TOP + row * len(models) - 3, note)
        title = f"Every loss with every decoder, new studies (OOD): {F1}"
        style.letter(figure, "a", title, MARGIN, MARGIN)
        handles = [*style.loss_handles(losses), *marks.handles(marks.BESIDE)]
        style.legend(figure, MARGIN + 4.5, MARGIN, handles)
        right = WIDTH - MARGIN - _SHARES
        style.letter(figure, "b", "Share of the gain, %", right - 4, MARGIN)
        gap = 3.0
        width = (right - 8 - _LEFT - gap * (len(kinds) - 1)) / len(kinds)
        for i, model in enumerate(models):
            of_model = table[table["model"] == model]
            top = _TOP + i * row
            for j, kind in enumerate(kinds):
                axes = style.place(figure, _LEFT + j * (width + gap), top, width, inner)
                _draw_scores(axes, of_model[of_model["kind"] == kind], losses, decoders)
                axes.set_xlim(0, 1)
                axes.set_xticks([0, 0.5, 1], labels=["0", "0.5", "1"])
                axes.set_title(_KINDS[kind], fontsize=style.SMALL, loc="left", color=style.MUTED)
                if j:
                    axes.set_yticklabels([])
            page = figure.get_figheight() * 25.4
            figure.text(MARGIN / WIDTH, 1 - (top - 1.2) / page, style.name(model), weight="bold")
            axes = style.place(figure, right, top, _SHARES, inner)
            _draw_shares(axes, of_model[of_model["kind"] == "all"], losses, decoders)
        return figure


def _draw_scores(axes: Axes, table: pd.DataFrame, losses: list[str], decoders: list[str]) -> None:
    """One row per decoder with one dot per loss and one standard deviation to either side."""
    colours = style.loss_colours(losses)
    offsets = np.linspace(-0.25, 0.25, len(losses)) if len(losses) > 1 else [0.0]
    axes.hlines(
        np.arange(len(decoders) - 1) + 0.5, 0, 1, color=style.ABSENT, lw=0.35, zorder=1,
        transform=axes.get_yaxis_transform(),
    )  # fmt: skip
    for loss, offset in zip(losses, offsets, strict=True):
        rows = table[table["loss"] == loss].set_index("decoder").reindex(decoders)
        y = np.arange(len(decoders)) + offset
        value, sd = rows["credited_macro_f1"], rows["sd"].fillna(0)
        axes.hlines(y, value - sd, value + sd, color=colours[loss], lw=0.8, zorder=2)
        axes.scatter(value, y, s=9, c=colours[loss], lw=0, zorder=4)
        for kind in marks.BESIDE:
            looks = {"edgecolors": colours[loss], "zorder": 3}
            marks.mark(axes, rows[f"{kind}_macro_f1"], y, kind, 5.0, **looks)
    axes.set_ylim(len(decoders) - 0.5, -0.5)
    axes.set_yticks(range(len(decoders)), labels=[style.name(decoder) for decoder in decoders])
    axes.tick_params(axis="y", length=0)


def _draw_shares(axes: Axes, table: pd.DataFrame, losses: list[str], decoders: list[str]) -> None:
    """One cell per loss and decoder: its share of the gain between the losses with argmax.

    A score below that of the baseline with argmax has none of it.
    """
    shares = table.pivot(index="decoder", columns="loss", values="share_of_gain")
    shares = shares.reindex(index=decoders, columns=losses)
    if shares.isna().all(axis=None):
        style.say(axes, "No share of the gain:\na loss or a gain\nis missing.")
        return
    values = shares.to_numpy(float)
    for (i, j), value in np.ndenumerate(values):
        tint = style.CHANGE(0.5 + 0.25 * float(np.clip(np.nan_to_num(value), 0, 1.5)))
        axes.fill_between([j - 0.48, j + 0.48], i - 0.45, i + 0.45, color=tint, lw=0)
        text = "none" if value < 0 else f"{100 * value:.0f}"
        if np.isnan(value):
            text = "–"
        axes.text(j, i, text, ha="center", va="center")
    axes.set(xlim=(-0.5, len(losses) - 0.5), ylim=(len(decoders) - 0.5, -0.5), yticks=[])
    axes.set_xticks(
        range(len(losses)), labels=[style.name(loss).replace(" (", "\n(") for loss in losses]
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
