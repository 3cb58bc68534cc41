"""Copies of stores on a disk of the node, for jobs that stream them many times over a network."""

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hce.errors import UserError
from hce.store.cell_store import CellStore

logger = logging.getLogger(__name__)

# Of the free space, what others may still take meanwhile.
MARGIN = 1.05


def stage_stores(stores: Mapping[str, CellStore], folder: str) -> dict[str, CellStore]:
    """Copies stores to a folder of this machine; the copies are removed when the process ends.

    Args:
        stores: set → store.
        folder: where; variables such as $TMPDIR are those of this process.

    Returns:
        The copies; the stores themselves where there is no room for all of them.

    Raises:
        UserError: a variable is not set, or the folder is not there or cannot be written.
    """
    place = os.path.expandvars(folder)
    if "$" in place:
        raise UserError(
            f"data.stage is {folder}, but that variable is not set in the job: name a folder that "
            "the nodes have, or set it to null."
        )
    files = [file for store in stores.values() for file in store.path.iterdir()]
    needed = MARGIN * sum(file.stat().st_size for file in files)
    try:
        free = shutil.disk_usage(place).free
        if needed > free:
            logger.warning(
                "data.stage %s has %.1f GB free, and the stores take %.1f: streaming from %s",
                *(place, free / 1e9, needed / 1e9, next(iter(stores.values())).path.parent),
            )
            return dict(stores)
        copies = Path(tempfile.mkdtemp(prefix="hce-", dir=place))
    except OSError as error:
        raise UserError(
            f"data.stage {place} cannot be used ({error.strerror}): name a folder of the nodes "
            "that can be written, or set it to null."
        ) from error
    atexit.register(shutil.rmtree, copies, ignore_errors=True)
    logger.info("copying %.1f GB of stores to %s", needed / MARGIN / 1e9, copies)
    return {
        name: CellStore(Path(shutil.copytree(store.path, copies / name)), store.manifest)
        for name, store in stores.items()
    }
