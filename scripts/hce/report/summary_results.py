"""The summary's section on the authors' own predictions: published, rescored, and of this run."""

from collections.abc import Mapping

import pandas as pd

from hce.metrics import KINDS
from hce.report.markdown import NOTHING, markdown_table
from hce.report.published import DECODER


def authors_predictions(tables: Mapping[str, pd.DataFrame]) -> str:
    """Macro F1 as published, of the authors' predictions by our metrics, and of this run's.

    Args:
        tables: `published_results` (name, model, loss, seed, set, score, value, cells, compared),
            `published` and `overall`; "" without the first.

    Returns:
        Markdown with a heading of the second level.
    """
    results = tables.get("published_results")
    if results is None:
        return ""
    lines = []
    keys = ["model", "loss", "set"]
    for (model, loss, name), rows in results.groupby(keys, sort=False):
        fit = {"model": model, "loss": loss, "set": name}
        for kind in KINDS:
            score = f"{kind}_macro_f1"
            theirs = 100 * rows.loc[rows["score"] == score, "value"]
            own = 100 * _of(tables["overall"], {**fit, "score": score, "decoder": DECODER})
            printed = _of(tables["published"], {**fit, "quantity": "macro_f1"})
            lines.append(
                [
                    *map(str, fit.values()),
                    kind.replace("_", "-"),
                    ", ".join(f"{v:.4g}" for v in printed if kind == "credited") or NOTHING,
                    _mean(theirs),
                    _mean(own),
                ]
            )
    header = [*keys, "score", "published", "authors' predictions, rescored", "this run"]
    files = results.drop_duplicates(["name", "loss", "seed"])[["name", "loss", "seed", "compared"]]
    told = [f"* {name} / {loss} / {seed}: {said}." for name, loss, seed, said in files.to_numpy()]
    return "\n\n".join(
        (
            "## The authors' predictions",
            "Macro F1 in %, argmax, mean ± standard deviation over runs. The authors' predictions "
            "are scored with the metrics of this run; the study-aware score needs the study of "
            "each cell and is given where cells and labels are those of the run.",
            markdown_table(header, lines, right=header[-3:]),
            "\n".join(told),
        )
    )


def _of(table: pd.DataFrame, row: Mapping[str, object]) -> pd.Series:
    chosen = pd.Series(True, index=table.index)
    for column, value in row.items():
        chosen &= table[column] == value
    return table.loc[chosen, "value"]


def _mean(values: pd.Series) -> str:
    if values.empty:
        return NOTHING
    return f"{values.mean():.1f}" + (f" ± {values.std():.1f}" if len(values) > 1 else "")
