"""In which order cells are drawn: decided once for all fits that are compared.

Cells in memory, of a GPU or the host, are shuffled over the whole training set, or over the part of
it that each of several processes holds; those on disk within buffers. Scores depend on it, so fits
that differ in it cannot be compared.
"""

import json
import logging
import time
from pathlib import Path

from hce.batches.placement import PLACED
from hce.errors import UserError
from hce.files import create_once

logger = logging.getLogger(__name__)

# How long an empty file is taken to be one that another process is writing.
SECONDS = 5
_WORDS = {"global": "from all cells in memory", "streamed": "within buffers, from disk"}


def order_of(residency: str) -> str:
    """The order that a residency gives: "global" or "streamed"."""
    return "streamed" if residency == "disk" else "global"


def keep_order(path: str | Path, asked: str, residency: str) -> str:
    """Holds a fit to the order of the first one that started.

    Args:
        path: file that the fits of a comparison share; made by the first of them.
        asked: the config's training.residency.
        residency: what this fit would take.

    Returns:
        The residency to take: another one only where the config leaves it open and the first fit
        streamed.

    Raises:
        UserError: this fit cannot have, or was told not to have, the order of the others.
    """
    path = Path(path)
    own = order_of(residency)
    kept = _first(path, own)
    if own == kept:
        return residency
    if asked == "auto" and kept == "streamed":
        logger.info("%sdisk, as those of the run's other fits (%s)", PLACED, path)
        return "disk"
    cure = (
        "ask for more memory (set-resources fit: mem_mb in the profile)"
        if kept == "global"
        else "set training.residency to disk or auto"
    )
    raise UserError(
        f"This fit would draw its cells {_WORDS[own]}, but the first fit of the run draws them "
        f"{_WORDS[kept]} ({path}), so that their scores could not be compared: {cure}, or give the "
        "run another name."
    )


def _first(path: Path, own: str) -> str:
    """The order of the first fit; if no fit has recorded one, that of this fit."""
    if not path.exists():
        create_once(path, json.dumps({"order": own}) + "\n")
    for _ in range(SECONDS):
        if path.read_text().strip():
            break
        time.sleep(1)
    try:
        return json.loads(path.read_text())["order"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not say in which order the run's fits draw their cells: delete it, and "
            "the fits that are there, and run again."
        ) from error
