"""Numbers and tables as Markdown that reads well as plain text."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

NOTHING = "-"


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()
) -> str:
    """An aligned Markdown table.

    Args:
        header: names of the columns.
        rows: cells, as text.
        right: names of the columns that are aligned right.
    """
    if not rows:
        return "(none)"
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (header, *rows)]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(header))]

    def join(cells: Sequence[str]) -> str:
        columns = zip(header, cells, widths, strict=True)
        padded = (c.rjust(w) if name in right else c.ljust(w) for name, c, w in columns)
        return "| " + " | ".join(padded) + " |"

    rule = [
        "-" * (w - 1) + (":" if n in right else "-") for n, w in zip(header, widths, strict=True)
    ]
    return "\n".join([join(lines[0]), join(rule), *(join(line) for line in lines[1:])])


def number(value: float, unit: str) -> str:
    """Formats a number: one decimal for "%" and "points"; `NOTHING` for NaN.

    Other numbers are counts, or get four significant digits if they are not whole.
    """
    if np.isnan(value):
        return NOTHING
    if unit in ("%", "points"):
        return f"{value:.1f}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def mean_sd(values: pd.Series) -> str:
    """Mean ± standard deviation in %; the mean alone for one seed."""
    values = 100 * values.dropna()
    if values.empty:
        return NOTHING
    sd = f" ± {values.std():.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{sd}"


def points(change: float) -> str:
    """A change of a score in points, with its sign."""
    # + 0.0 turns the -0.0 of a small fall into 0.0.
    return f"{round(100 * change, 1) + 0.0:+.1f}"
