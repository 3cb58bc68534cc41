"""The changes of all models by the three scores, as points and intervals on one scale."""

from typing import Any

import pandas as pd

from hce.metrics import KIND_NAMES
from hce.names import name
from hce.report.markdown import points

# Width of the scale and height of a row, in units of the drawing.
SCALE, ROW = 360, 20
STEPS = (0.02, 0.05, 0.1, 0.2, 0.5)


def forest(gains: pd.DataFrame, alpha: float) -> dict[str, Any] | None:
    """Where the points, intervals and ticks of the drawing stand.

    Args:
        gains: `bootstrap.tsv` of one set, decoder and loss.
        alpha: 1 - coverage of the intervals.

    Returns:
        width, height, zero, interval (in %), ticks (x, text) and rows (y, model, score, x, low,
        high, text); None where nothing is compared.
    """
    gains = gains.dropna(subset=["change"])
    if gains.empty:
        return None
    ends = gains[["change", "ci_low", "ci_high"]].to_numpy(float)
    low, high = min(0.0, pd.Series(ends.ravel()).min()), max(0.0, pd.Series(ends.ravel()).max())
    step = next((s for s in STEPS if (high - low) / s <= 8), 1.0)
    low, high = (low // step) * step, -(-high // step) * step

    def x(value: float) -> float:
        return round(SCALE * (value - low) / (high - low or 1.0), 1)

    rows: list[dict[str, Any]] = []
    for model, of in gains.groupby("model", sort=False):
        by_score = {row["score"]: row for row in of.to_dict("records")}
        for kind, said in KIND_NAMES.items():
            row = by_score.get(f"{kind}_macro_f1")
            if row is None:
                continue
            known = not pd.isna(row["ci_low"])
            interval = f" [{points(row['ci_low'])}, {points(row['ci_high'])}]" if known else ""
            rows.append(
                {
                    "y": ROW * len(rows) + ROW / 2,
                    "model": name(str(model)) if kind == "credited" else "",
                    "score": said,
                    "kind": kind,
                    "x": x(row["change"]),
                    "low": x(row["ci_low"]) if known else None,
                    "high": x(row["ci_high"]) if known else None,
                    "text": points(row["change"]) + interval,
                }
            )
    count = round((high - low) / step)
    ticks = [low + i * step for i in range(count + 1)]
    return {
        "width": SCALE,
        "height": ROW * len(rows),
        "zero": x(0.0),
        "interval": f"{100 * (1 - alpha):g}%",
        "ticks": [(x(tick), f"{round(100 * tick) + 0:+d}" if tick else "0") for tick in ticks],
        "rows": rows,
        "baseline": name(str(gains["baseline"].iloc[0])),
        "loss": name(str(gains["loss"].iloc[0])),
    }
