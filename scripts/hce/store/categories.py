"""Numbers of categories, where none may be missing: pandas' −1 would be the last one to NumPy."""

import numpy as np
import pandas as pd

from hce.errors import UserError


def codes_of(column: pd.Series, where: str) -> np.ndarray:
    """The number of each value's category, int64 (n,).

    Args:
        column: categories; its name goes to the message.
        where: what the column belongs to, for the message.

    Raises:
        UserError: values are missing; names the column and how many.
    """
    codes = column.cat.codes.to_numpy(np.int64)
    if missing := int((codes < 0).sum()):
        raise UserError(
            f"Column {column.name} of {where} is missing in {missing:,} of {len(codes):,} cells: "
            "fill it in, or remove these cells."
        )
    return codes
