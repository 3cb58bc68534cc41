"""The command `hce`.

`hce store PATH` prints what a store holds; with `--verify` it recomputes the checksums and names
damaged shards, with `--repair` it rebuilds these, and these alone, from the release.
"""

import argparse
import sys
from collections.abc import Sequence

from hce import __version__
from hce.errors import UserError
from hce.store import CellStore
from hce.store_tool import damaged_shards, describe, repair_shard


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status: 0, 1 for damage or an error, 2 for misuse."""
    options = _parser().parse_args(arguments)
    try:
        return _store(options)
    except UserError as error:
        print(f"hce: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hce", description="Tools beside the pipeline.")
    parser.add_argument("--version", action="version", version=f"hce {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    store = commands.add_parser(
        "store", help="what a store of counts holds, and whether it is whole"
    )
    store.add_argument("path", metavar="PATH", help="folder of the store, such as DATA/store/ood")
    store.add_argument("--verify", action="store_true", help="recompute the checksum of each shard")
    store.add_argument(
        "--repair",
        action="store_true",
        help="rebuild damaged shards from the release, and leave the others as they are",
    )
    store.add_argument("--uri", help="where the release lies now, for --repair")
    return parser


def _store(options: argparse.Namespace) -> int:
    store = CellStore.open(options.path)
    if not (options.verify or options.repair):
        print(describe(store))
        return 0
    damaged = damaged_shards(store)
    for name in damaged:
        print(f"{store.path / name} is missing or damaged.")
        if options.repair:
            repair_shard(store, name, options.uri)
            print(f"{store.path / name} is rebuilt.")
    whole = len(store.manifest["shards"]) - len(damaged)
    print(f"{whole} of {whole + len(damaged)} shards are as they were written.")
    if damaged and not options.repair:
        print(f"`hce store {store.path} --repair` rebuilds them from the release.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
