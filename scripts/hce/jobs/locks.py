"""Snakemake's locks of a folder, for several runs in it at a time."""

from pathlib import Path

from snakemake.persistence.file import FilePersistence


def keep_locks_of_others() -> None:
    """Has a run that ends remove its own locks alone.

    Snakemake (9.27) removes the folder of all locks, and after the end of one run no longer refuses
    a second one for the results that another run is still making. `--unlock` removes all as before.
    """
    FilePersistence.cleanup_locks = FilePersistence._delete_locks
    FilePersistence.unlock = _remove_own


def _remove_own(persistence: FilePersistence) -> None:
    for path in persistence._lockfile.values():
        Path(path).unlink(missing_ok=True)
    persistence._lockfile.clear()
