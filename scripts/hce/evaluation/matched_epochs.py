"""A control: scores of one loss at the epoch at which the other one was stopped.

They show whether early stopping favours one of the two.
"""

import numpy as np
import pandas as pd

from hce.metrics import KINDS

COLUMNS = ["control", "model", "loss", "seed", "set", "decoder", "score", "value"]
# Scores that a history has of a set, as `<set>_<score>`.
HISTORY_SCORES = tuple(f"{kind}_macro_f1" for kind in KINDS)


def matched_epochs(history: pd.DataFrame, baseline: str, compared: str) -> pd.DataFrame:
    """Scores of either loss at the epoch at which the other one was best by validation.

    Args:
        history: `history.tsv`: model, loss, seed, epoch, kept, and `<set>_<score>` for val and the
            sets that training monitors.
        baseline: one loss.
        compared: the other.

    Returns:
        `COLUMNS`, with control `epoch_of_<other loss>`; the value is missing where the fit stopped
        before that epoch. Models and seeds that lack one of the losses have no rows.
    """
    sets = [
        column.removesuffix(f"_{HISTORY_SCORES[0]}")
        for column in history.columns
        if column.endswith(f"_{HISTORY_SCORES[0]}")
    ]
    rows = []
    for (model, seed), fits in history.groupby(["model", "seed"], sort=False):
        by_loss = {str(loss): rows.set_index("epoch") for loss, rows in fits.groupby("loss")}
        for loss, other in ((baseline, compared), (compared, baseline)):
            if loss not in by_loss or other not in by_loss:
                continue
            epoch = by_loss[other]["kept"].idxmax()
            for name in sets:
                for score in HISTORY_SCORES:
                    column = by_loss[loss][f"{name}_{score}"]
                    value = float(column.get(epoch, np.nan))
                    head = (f"epoch_of_{other}", model, loss, seed, name)
                    rows.append((*head, "argmax", score, value))
    return pd.DataFrame(rows, columns=COLUMNS)
