"""The frame of every rule's script: a log file, and clear words when something goes wrong."""

import json
import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hce import checksums
from hce.errors import UserError
from hce.files import clear_partial
from hce.jobs.interrupts import sigterm_interrupts
from hce.jobs.machine import describe_machine, take_cores

# Begin the lines of a log that say where the job ran and what it asked for; the provenance is
# read from them.
MACHINE = "Machine: "
ASKED = "Asked for: "
UNEXPECTED = "The job failed."
# Exit status of what a signal ended.
INTERRUPTED = 130
SHARD = ".arrow"
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextmanager
def job(snakemake: Any) -> Iterator[logging.Logger]:
    """Runs the body of a rule's script and yields its logger.

    Inputs that other jobs made are held to the checksums that these recorded, and the outputs get
    theirs.

    Everything logged goes to the rule's log file (`snakemake.log[0]`); its first lines say on
    which machine, and what a scheduler was asked for. What a killed job left behind of the outputs
    is removed first: no other job writes them. A `UserError` ends the job with its one
    sentence on stderr and in the log; any other error leaves its traceback in the log and a pointer
    to it on stderr. Both exit with status 1. SIGTERM ends the job with nothing half-written.
    """
    take_cores(snakemake.threads)
    log = Path(snakemake.log[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    logging.basicConfig(
        filename=log,
        filemode="a",  # the processes of a distributed fit add to the same file
        force=True,  # imported packages may have set up logging of their own
        level=logging.INFO,
        format=LOG_FORMAT,
    )
    logging.captureWarnings(True)
    logger = logging.getLogger(snakemake.rule)
    logger.info("%s%s", MACHINE, describe_machine())
    logger.info("%s%s", ASKED, json.dumps(_asked(snakemake)))
    for path in snakemake.output:
        clear_partial(path)
        checksums.forget(path)
    try:
        with sigterm_interrupts():
            for path in _files(snakemake.input):
                if path.suffix != SHARD:  # which are verified as they are read
                    checksums.verify(path)
            yield logger
            for path in _files(snakemake.output):
                checksums.record(path)
    except KeyboardInterrupt:
        logger.error("The job was stopped.")
        print(f"Error in {snakemake.rule}: the job was stopped.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except UserError as error:
        logger.error("%s", error)
        print(f"Error in {snakemake.rule}: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        logger.exception(UNEXPECTED)
        print(
            f"Error in {snakemake.rule}: {type(error).__name__}: {error} (traceback in {log})",
            file=sys.stderr,
        )
        sys.exit(1)


def _files(paths: Iterable[str]) -> list[Path]:
    """Those that are held to checksums of their own: no folders and none of the records."""
    files = [Path(path) for path in paths]
    return [file for file in files if file.is_file() and file.suffix != checksums.SUFFIX]


def _asked(snakemake: Any) -> dict[str, float | None]:
    """Memory in 10^6 bytes, minutes and cores that a scheduler was asked for."""
    resources = {name: getattr(snakemake.resources, name, None) for name in ("mem_mb", "runtime")}
    return {
        "asked_mb": resources["mem_mb"],
        "asked_minutes": resources["runtime"],
        "asked_cores": snakemake.threads,
    }


def last_error(log: str | Path) -> str | None:
    """The message of the last error in a job's log file, or None where there is none."""
    path = Path(log)
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [number for number, line in enumerate(lines) if re.match(r"\S+ \S+ ERROR ", line)]
    if not errors:
        return None
    message = lines[errors[-1]].split(": ", 1)[-1]
    # With a traceback, the last line says what it was.
    return lines[-1] if message == UNEXPECTED else message
