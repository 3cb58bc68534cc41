"""`hce explain NAME` prints the probabilities of a cell or a type as a tree."""

import argparse
from typing import Any

from hce.commands.options import add_allow_imports


def add(commands: Any) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "explain",
        help="show the probabilities of a cell along the ontology, as a tree",
        description="For a cell, prints s (the probability of a type and all types below it) and p "
        "(of the type itself) along the ontology; for a type, the mean over the cells annotated "
        "as it. Without --cells, prints where a type is in the model.",
    )
    parser.add_argument("name", metavar="CELL|TYPE", help="name of a cell in obs, or of a type")
    parser.add_argument("--model", required=True, help="model file (.hce)")
    parser.add_argument("--cells", help="file or folder with the cells, as for `hce annotate`")
    parser.add_argument("--layer", help="where the raw counts are: X, raw or a layer")
    add_allow_imports(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command."""
    from hce.annotate.annotator import load_annotator
    from hce.annotate.explain import explain_cell, explain_type
    from hce.inputs.cells import open_cells

    annotator = load_annotator(options.model, options.allow_imports)
    if options.cells is None:
        print(explain_type(annotator, options.name))
        return 0
    with open_cells(options.cells) as cells:
        print(explain_cell(annotator, cells, options.name, options.layer))
    return 0
