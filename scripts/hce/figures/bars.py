"""Panels that compare models and losses by one score, with one dot per fit."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from hce.figures import marks, style

F1 = "credited macro F1"
_FEWEST_BARS = 5  # with fewer bars, the bars do not become wider


def score_bars(
    axes: Axes,
    values: pd.DataFrame,
    models: Sequence[str],
    losses: Sequence[str],
    levels: Mapping[tuple[str, str], float] | None = None,
    beside: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Draws one bar per model and loss (mean over seeds) and one dot per seed.

    Args:
        axes: where to draw.
        values: columns model, loss, seed, value (in 0…1); one row per fit.
        models: groups of bars, from left to right.
        losses: bars of a group, from left to right.
        levels: (model, loss) → height of a dashed line across that bar.
        beside: kind of a further score → its values as above; their means get marks.
    """
    colours = style.loss_colours(losses)
    width = 0.8 / len(losses)
    slots = max(len(models), _FEWEST_BARS / len(losses))
    room = 0.92 * axes.get_position().width * style.WIDTH * width / slots
    numbers = room > style.text_width("0.00") + 0.5
    for group, model in enumerate(models):
        for position, loss in enumerate(losses):
            seeds = values[(values["model"] == model) & (values["loss"] == loss)]["value"]
            if seeds.empty:
                continue
            x = group + (position - (len(losses) - 1) / 2) * width
            axes.bar(x, seeds.mean(), width * 0.92, color=colours[loss], zorder=2)
            style.seed_dots(axes, x + _spread(len(seeds), width * 0.5), seeds)
            marks.draw_means(axes, x, beside or {}, model, loss)
            if numbers:  # at the bottom, without dots and dashed lines
                ink = style.ink_on(colours[loss])
                axes.text(x, 0.02, f"{seeds.mean():.2f}", ha="center", va="bottom", color=ink)
            level = (levels or {}).get((model, loss))
            if level is not None:
                axes.plot(
                    [x - width * 0.46, x + width * 0.46],
                    [level, level],
                    ls=(0, (2.2, 1.2)),
                    lw=1,
                    c=style.INK,
                    zorder=3,
                )
    middle = (len(models) - 1) / 2
    axes.set(
        xlim=(middle - 0.52 * slots, middle + 0.52 * slots),
        ylim=(0, 1),
        xticks=range(len(models)),
        xticklabels=[style.name(model) for model in models],
    )
    axes.tick_params(axis="x", length=0)


def paired_lines(
    axes: Axes,
    values: pd.DataFrame,
    models: Sequence[str],
    losses: Sequence[str],
    beside: Mapping[str, pd.DataFrame],
) -> None:
    """Draws for each model one line per seed from loss to loss, and the mean change.

    Args:
        axes: where to draw.
        values: columns model, loss, seed, value (in 0…1); one row per fit.
        models: groups, from left to right.
        losses: points of a group, from left to right; changes are from the first of them.
        beside: kind of a further score → its values as above; their means get marks.
    """
    colours = style.loss_colours(losses)
    ticks, names = [], []
    for group, model in enumerate(models):
        table = values[values["model"] == model].pivot(index="seed", columns="loss", values="value")
        fitted = [loss for loss in losses if loss in table]
        table = table[fitted]
        x = group * (len(losses) + 0.9) + np.arange(len(table.columns))
        for _, seed in table.iterrows():
            axes.plot(x, seed, c=style.RULE, lw=0.7, zorder=1)
        for position, loss in zip(x, fitted, strict=True):
            seeds = table[loss].dropna()
            style.seed_dots(axes, np.full(len(seeds), position), seeds, colours[loss])
            axes.plot(
                [position - 0.26, position + 0.26],
                [seeds.mean()] * 2,
                c=style.INK,
                lw=1.2,
                zorder=2,
            )
            marks.draw_means(axes, position, beside, model, loss)
            if loss != losses[0] and losses[0] in table:
                change = (table[loss] - table[losses[0]]).mean()
                axes.annotate(
                    style.signed(100 * change, 1),
                    (position, table[loss].max()),
                    (0, 4),
                    textcoords="offset points",
                    ha="center",
                    va="bottom",
                    bbox={"fc": "white", "lw": 0, "pad": 0.3},
                    zorder=5,
                )
        ticks += x.tolist()
        names += [style.name(loss) for loss in fitted]
        axes.text(
            x.mean(),
            -0.075,
            style.name(model),
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="top",
            fontweight="bold",
        )
    axes.set(xticks=ticks, xticklabels=names, ylabel=f"{F1}, OOD")
    middle, half = (min(ticks) + max(ticks)) / 2, (max(ticks) - min(ticks)) / 2
    axes.set_xlim(middle - max(half, 1.5) - 0.6, middle + max(half, 1.5) + 0.6)
    low = min(table["value"].min() for table in (values, *beside.values()))
    high = values["value"].max()
    axes.set_ylim(max(0, low - 0.04), min(1, high + 0.05))
    axes.tick_params(axis="x", length=0)


def _spread(count: int, width: float) -> np.ndarray:
    """Offsets that place `count` dots side by side over a width, in the order of the seeds."""
    return np.linspace(-width / 2, width / 2, count) if count > 1 else np.zeros(1)
