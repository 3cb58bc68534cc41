"""`hce models PATH...` prints what model files contain; `--get` fetches one."""

import argparse
from pathlib import Path
from typing import Any

from hce.commands.options import add_allow_imports

EXAMPLES = """
examples:
  hce models results/demo/models/best.hce --types
  hce models --card mlp_hce_0.hce > mlp_hce_0.md
  hce models --get https://example.org/models/mlp_hce_0.hce
  hce models --get mlp_hce_0 --index https://example.org/models/models.tsv
"""


def add(commands: Any) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "models",
        help="show what model files contain, or fetch one",
        description="Shows what model files contain: types, genes, training data, scores, "
        "precision. With --get, fetches a file into the cache, where its name is enough: "
        "`hce annotate --model NAME`.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="model file, a folder of them, or a fetched name"
    )
    parser.add_argument("--types", action="store_true", help="list the types, as a tree")
    parser.add_argument("--card", action="store_true", help="print the model cards, in Markdown")
    parser.add_argument("--get", metavar="NAME|URL", help="fetch a model file into the cache")
    parser.add_argument(
        "--index",
        metavar="TABLE",
        help="path or address of the table in which --get looks up a name (default: $HCE_MODELS)",
    )
    parser.add_argument("--sha256", metavar="HEX", help="checksum that the file must have")
    add_allow_imports(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command."""
    from hce.annotate.annotator import load_annotator
    from hce.annotate.cache import SUFFIX, fetch_model, find_model
    from hce.annotate.explain import describe
    from hce.errors import UserError
    from hce.report.model_card import model_card

    files: list[Path] = []
    if options.get is not None:
        files.append(fetch_model(options.get, options.index, options.sha256))
    for path in map(Path, options.paths):
        files += sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [find_model(path)]
    if not files:
        where = ", ".join(options.paths) or "what was given: name one, or fetch one with --get"
        raise UserError(f"There is not a model file (*{SUFFIX}) in {where}.")
    for file in files:
        annotator = load_annotator(file, options.allow_imports)
        if options.card:
            print(model_card(annotator, file))
            continue
        print(f"{file} ({file.stat().st_size / 1e6:.1f} MB)")
        print(describe(annotator, options.types) + "\n")
    return 0
