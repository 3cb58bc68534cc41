"""`hce models PATH...` prints what model files contain."""

import argparse
from pathlib import Path
from typing import Any

from hce.commands.options import add_allow_imports


def add(commands: Any) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "models",
        help="show what model files contain: types, genes, training data, scores, precision",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="model file, or a folder of them")
    parser.add_argument("--types", action="store_true", help="list the types, as a tree")
    add_allow_imports(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command."""
    from hce.annotate.annotator import SUFFIX, load_annotator
    from hce.annotate.explain import describe
    from hce.errors import UserError

    files: list[Path] = []
    for path in map(Path, options.paths):
        files += sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not files:
        raise UserError(f"There is not a model file (*{SUFFIX}) in {', '.join(options.paths)}.")
    for file in files:
        print(f"{file} ({file.stat().st_size / 1e6:.1f} MB)" if file.is_file() else file)
        annotator = load_annotator(file, options.allow_imports)
        print(describe(annotator, options.types) + "\n")
    return 0
