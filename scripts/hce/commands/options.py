"""Options that several commands have."""

import argparse


def add_allow_imports(parser: argparse.ArgumentParser) -> None:
    """Adds the option that allows model files to name classes outside of hce."""
    parser.add_argument(
        "--allow-imports",
        action="store_true",
        help="run code that a model file names; only for files that you trust",
    )
