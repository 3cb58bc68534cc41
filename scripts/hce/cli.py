"""The command `hce`, with one subcommand per module of `hce.commands`."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from hce import __version__
from hce.commands import annotate, explain, models, store
from hce.errors import UserError
from hce.jobs.interrupts import sigterm_interrupts


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status: 0, 1 for damage or an error, 2 for misuse."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, format="hce: %(message)s", level=logging.INFO, force=True
    )
    try:
        with sigterm_interrupts():
            status: int = options.run(options)
        sys.stdout.flush()
    except UserError as error:
        print(f"hce: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, such as `head`, has stopped reading
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # errors of the system: permissions, paths, broken disks
        where = f"{error.filename}: " if error.filename else ""
        print(f"hce: {where}{error.strerror or error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("hce: interrupted, nothing was written.", file=sys.stderr)
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hce", description="Annotate cells with trained models, and inspect models and stores."
    )
    parser.add_argument("--version", action="version", version=f"hce {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (annotate, explain, models, store):
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
