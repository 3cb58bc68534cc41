"""`hce store PATH` prints what a store contains.

With `--verify` it recomputes the checksums and names damaged shards; with `--repair` it rebuilds
only these from the release.
"""

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Declares the command."""
    parser = commands.add_parser("store", help="show what a store of counts contains, and check it")
    parser.add_argument("path", metavar="PATH", help="folder of the store, such as DATA/store/ood")
    parser.add_argument(
        "--verify", action="store_true", help="recompute the checksum of each shard"
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="rebuild damaged shards from the release and leave the others unchanged",
    )
    parser.add_argument("--uri", help="address of the release, if it has moved (for --repair)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command."""
    from hce.store.cell_store import CellStore
    from hce.store.repair import describe, repair_shard

    store = CellStore.open(options.path)
    if not (options.verify or options.repair):
        print(describe(store))
        return 0
    store.cells(["soma_joinid"])  # a damaged table of cells is no case for a repair
    damaged = list(store.damaged_shards())
    for shard in damaged:
        print(f"{shard} is missing or damaged.")
        if options.repair:
            from hce.census.counts import read_cells  # opens a release: not for a whole store

            repair_shard(store, shard.name, read_cells, options.uri)
            print(f"{shard} is rebuilt.")
    whole = len(store.manifest["shards"]) - len(damaged)
    print(f"{whole} of {whole + len(damaged)} shards are as they were written.")
    if damaged and not options.repair:
        print(f"`hce store {store.path} --repair` rebuilds them from the release.")
        return 1
    return 0
