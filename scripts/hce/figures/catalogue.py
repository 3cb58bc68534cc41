"""The catalogue of figures, and the tables that each is drawn from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from hce.figures.audit import draw_audit
from hce.figures.coverage import draw_coverage
from hce.figures.figure_1 import draw_figure_1
from hce.figures.figure_2 import draw_figure_2
from hce.figures.figure_calibration import draw_calibration
from hce.figures.figure_decomposition import draw_decomposition
from hce.figures.figure_factorial import draw_factorial
from hce.figures.figure_frontier import draw_frontier
from hce.figures.figure_kinds import draw_by_kind
from hce.figures.figure_learning import draw_learning_curves
from hce.figures.figure_rarity import draw_against_coverage
from hce.figures.figure_releases import draw_releases
from hce.figures.figure_strata import draw_studies, draw_unseen
from hce.figures.figure_truth import draw_truth
from hce.figures.figure_types import draw_on_hierarchy, draw_other_models


@dataclass(frozen=True)
class Entry:
    """A figure of the catalogue.

    Attributes:
        draw: function that draws it, called with tables and options by name.
        tables: names of the tables (files in tables/, without suffix).
        options: names of further arguments that come from the config.
    """

    draw: Callable[..., Figure]
    tables: tuple[str, ...]
    options: tuple[str, ...] = ()


_CHANGES = ("overall", "type_changes", "data_types")
_STRATA = ("overall", "per_stratum", "stratum_changes")
_PAIR = ("compared",)
FIGURES = {
    "figure_1": Entry(
        draw_figure_1,
        ("overall", "data_totals", "data_tissues", "data_types", "models", "agreement"),
        ("releases",),
    ),
    "figure_2": Entry(
        draw_figure_2,
        ("overall", "type_changes", "per_type", "confusion", "data_types"),
        ("model", "root", "compared"),
    ),
    "figure_s1": Entry(draw_studies, (*_STRATA, "audit_studies", "bootstrap"), _PAIR),
    "figure_s2": Entry(partial(draw_on_hierarchy, position=0), _CHANGES, _PAIR),
    "figure_s3": Entry(partial(draw_on_hierarchy, position=1), _CHANGES, _PAIR),
    "figure_s4": Entry(partial(draw_on_hierarchy, position=2), _CHANGES, _PAIR),
    "figure_s5": Entry(partial(draw_by_kind, column="kind"), _CHANGES, _PAIR),
    "figure_s6": Entry(partial(draw_by_kind, column="connected"), _CHANGES, _PAIR),
    "figure_s7": Entry(
        draw_other_models, ("overall", "type_changes", "per_type"), ("model", "compared")
    ),
    "figure_s8": Entry(draw_against_coverage, _CHANGES, _PAIR),
    "figure_s9": Entry(partial(draw_unseen, kinds=["disease"]), _STRATA, _PAIR),
    "figure_s10": Entry(partial(draw_unseen, kinds=["tissue_general", "tissue"]), _STRATA, _PAIR),
    "factorial": Entry(draw_factorial, ("factorial",)),
    "frontier": Entry(draw_frontier, ("overall",)),
    "decomposition": Entry(draw_decomposition, ("decomposition",)),
    "learning_curves": Entry(draw_learning_curves, ("history",)),
    "calibration": Entry(draw_calibration, ("calibration", "overall")),
    "releases": Entry(
        draw_releases, ("overall", "data_totals", "report", "agreement"), ("releases",)
    ),
    "truth": Entry(draw_truth, ("truth", "overall"), ("model",)),
    "leakage": Entry(draw_audit, ("studies", "summary", "overall")),
    "coverage": Entry(
        draw_coverage,
        ("coverage", "calibrated_precision", "calibrated_precision_types"),
        ("model", "compared"),
    ),
}


def draw_figure(
    name: str,
    tables: Mapping[str, pd.DataFrame],
    options: Mapping[str, Any],
    note: str | None = None,
) -> Figure:
    """Draws a figure.

    Args:
        name: a key of `FIGURES`.
        tables: the run's tables by name, at least those that the figure needs.
        options: model (that of Figure 2c), root (CL id above Figure 2a), compared (the loss whose
            changes are shown) and releases (evaluation set → release), as far as the figure needs
            them.
        note: a line for the top margin, such as "Simulated data".

    Returns:
        The figure, 180 mm wide, for `style.save`.
    """
    entry = FIGURES[name]
    arguments = {table: tables[table] for table in entry.tables}
    arguments |= {option: options[option] for option in entry.options}
    return entry.draw(**arguments, note=note)
