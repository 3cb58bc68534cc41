"""`hce annotate CELLS --model MODEL --out OUT` writes the types of a user's cells."""

import argparse
import sys
from typing import Any

from hce.commands.options import add_allow_imports

DESCRIPTION = """
Writes a copy of CELLS with the types of a trained model in obs:

  hce_cell_type                       the type that the model's decoder chooses, usually the most
                                      probable one
  hce_cell_type_ontology_term_id      its term of the Cell Ontology
  hce_probability                     its probability
  hce_path                            the types above it, the most general first
  hce_second_cell_type, hce_second_probability, hce_third_...
                                      the most probable of the other types
  hce_back_off_cell_type              the most specific type, or term above the types, with a
                                      calibrated precision, or "unknown"
  hce_back_off_cell_type_ontology_term_id
  hce_back_off_probability            probability that the cell is of this type or one below it
  hce_unknown_reason                  why the back-off is unknown: no counts, few genes, unlike any
                                      type, markers absent (of votes), not certain
  hce_novelty, hce_novel              how new the cell is to the model, and whether it is unlike any
                                      type and therefore unknown

The precision of the back-off is calibrated to --probability on studies that the model was not
trained on, or, where these are too few, for other donors of its own studies; then it is lower on
new studies. `hce models` shows what was measured.

With --levels and --depths, hce_level_... and hce_depth_N_... have the same for the terms that you
name, or for those with at most N terms above them; with --vote, hce_vote_... for whole clusters.
uns["hce"] records the model, the options and the missing genes. CELLS itself is not altered.
"""

EXAMPLES = """
examples:
  hce annotate cells.h5ad --model mlp_hce_0.hce --out annotated.h5ad
  hce annotate cells.h5ad --model mlp_hce_0.hce --out types.tsv --probability 0.95
  hce annotate cells.h5ad --model mlp_hce_0.hce --out annotated.h5ad --vote leiden \\
      --types "T cell" "B cell" CL:0000576
"""


def add(commands: Any) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "annotate",
        help="annotate your own cells with types",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "cells", metavar="CELLS", help="h5ad, zarr, 10x .h5, or a folder with matrix.mtx"
    )
    parser.add_argument("--model", required=True, help="model file (.hce), see `hce models`")
    parser.add_argument(
        "--out",
        required=True,
        help="output: .h5ad (.zarr if CELLS is one), or a table: .tsv or .parquet",
    )
    parser.add_argument(
        "--probability",
        type=float,
        default=0.9,
        metavar="P",
        help="calibrated precision of the back-off's types (default: 0.9)",
    )
    parser.add_argument(
        "--no-back-off",
        action="store_true",
        help="give the most probable type only, without a calibrated precision",
    )
    parser.add_argument(
        "--layer",
        help="where the raw counts are: X, raw or a layer (default: all are compared)",
    )
    parser.add_argument(
        "--round",
        action="store_true",
        help="round fractions of counts, as SoupX, CellBender and EM give",
    )
    parser.add_argument(
        "--panel",
        action="store_true",
        help="accept fewer than half of the model's genes; the precision then does not hold",
    )
    parser.add_argument(
        "--types",
        nargs="+",
        metavar="TYPE",
        help="the plausible types, by name or CL term; types below them are included",
    )
    parser.add_argument(
        "--levels",
        nargs="+",
        default=[],
        metavar="TERM",
        help="also write which of these terms a cell is of, such as 'T cell' and monocyte",
    )
    parser.add_argument(
        "--depths",
        nargs="+",
        type=int,
        default=[],
        metavar="N",
        help="also write the back-off's answer with at most N terms above it in the ontology",
    )
    parser.add_argument("--vote", metavar="COLUMN", help="column of obs whose clusters vote")
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="also write the probabilities of all types (to obsm, or as columns of a table)",
    )
    parser.add_argument(
        "--report",
        metavar="PAGE.html",
        help="write a page with the types, a map, markers, and what to be careful about",
    )
    parser.add_argument("--genes", metavar="FILE", help="write the missing genes to this TSV")
    parser.add_argument(
        "--overwrite-columns",
        action="store_true",
        help="replace the columns of an earlier annotation",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace an existing folder given as --out that no annotation made",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add_allow_imports(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command."""
    import pandas as pd

    from hce.annotate import Options, annotate_file, load_annotator
    from hce.annotate.outputs import check_apart
    from hce.annotate.shown import type_table
    from hce.files import write_tsv
    from hce.progress import Bar, Progress

    for source in (options.cells, options.model):
        for written in filter(None, (options.out, options.genes, options.report)):
            check_apart(source, written)
    if options.report is not None:
        _check_page(options)
    annotator = load_annotator(options.model, options.allow_imports)
    annotation = annotate_file(
        options.cells,
        annotator,
        options.out,
        Options(
            probability=None if options.no_back_off else options.probability,
            layer=options.layer,
            types=options.types,
            vote=options.vote,
            probabilities=options.probabilities,
            overwrite=options.overwrite_columns,
            device=options.device,
            rounded=options.round,
            panel=options.panel,
            levels=options.levels,
            depths=options.depths,
        ),
        Bar if sys.stderr.isatty() else Progress,
        force=options.force,
    )
    if options.genes is not None:
        write_tsv(pd.DataFrame({"missing": list(annotation.genes.missing)}), options.genes)
    if options.report is not None:
        from hce.report.file_page import write_file_page

        write_file_page(options.report, options.cells, annotation, annotator, options.vote)
    print(f"{options.out}: {len(annotation.obs):,} cells.")
    print(type_table(annotation.obs, annotation.uns))
    return 0


def _check_page(options: argparse.Namespace) -> None:
    """Checks before the work that the page can be made; alone in needing packages for figures."""
    from hce.annotate.survey import check_embedding
    from hce.errors import UserError

    try:
        from hce.report.file_page import check_page
    except ModuleNotFoundError as error:
        raise UserError(
            f"--report needs the package {error.name}: install hce with its extras annotate, "
            "figures and report."
        ) from error
    check_page(options.report)
    check_embedding(options.cells)
