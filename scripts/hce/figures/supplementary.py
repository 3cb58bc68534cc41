"""Which supplementary figures there are, and what each is drawn from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from hce.figures.figure_calibration import draw_calibration
from hce.figures.figure_factorial import draw_factorial
from hce.figures.figure_kinds import draw_by_kind
from hce.figures.figure_learning import draw_learning_curves
from hce.figures.figure_rarity import draw_against_coverage
from hce.figures.figure_releases import draw_releases
from hce.figures.figure_strata import draw_studies, draw_unseen
from hce.figures.figure_types import draw_on_hierarchy, draw_other_models


@dataclass(frozen=True)
class Supplement:
    """A supplementary figure.

    Attributes:
        draw: draws it from its tables and options, by name.
        tables: names of the tables (files in tables/, without suffix).
        options: names of further arguments that come from the config.
    """

    draw: Callable[..., Figure]
    tables: tuple[str, ...]
    options: tuple[str, ...] = ()


_CHANGES = ("overall", "type_changes", "data_types")
_STRATA = ("overall", "per_stratum", "stratum_changes")
_PAIR = ("compared",)
SUPPLEMENTS = {
    "figure_s1": Supplement(draw_studies, (*_STRATA, "audit_studies", "bootstrap"), _PAIR),
    "figure_s2": Supplement(partial(draw_on_hierarchy, position=0), _CHANGES, _PAIR),
    "figure_s3": Supplement(partial(draw_on_hierarchy, position=1), _CHANGES, _PAIR),
    "figure_s4": Supplement(partial(draw_on_hierarchy, position=2), _CHANGES, _PAIR),
    "figure_s5": Supplement(partial(draw_by_kind, column="kind"), _CHANGES, _PAIR),
    "figure_s6": Supplement(partial(draw_by_kind, column="connected"), _CHANGES, _PAIR),
    "figure_s7": Supplement(draw_other_models, ("overall", "type_changes"), ("model", "compared")),
    "figure_s8": Supplement(draw_against_coverage, _CHANGES, _PAIR),
    "figure_s9": Supplement(partial(draw_unseen, kinds=["disease"]), _STRATA, _PAIR),
    "figure_s10": Supplement(
        partial(draw_unseen, kinds=["tissue_general", "tissue"]), _STRATA, _PAIR
    ),
    "factorial": Supplement(draw_factorial, ("factorial",)),
    "learning_curves": Supplement(draw_learning_curves, ("history",)),
    "calibration": Supplement(draw_calibration, ("calibration", "overall")),
    "releases": Supplement(draw_releases, ("overall", "data_totals"), ("releases",)),
}


def draw_supplement(
    name: str,
    tables: Mapping[str, pd.DataFrame],
    options: Mapping[str, Any],
    note: str | None = None,
) -> Figure:
    """Draws a supplementary figure.

    Args:
        name: a key of `SUPPLEMENTS`.
        tables: the run's tables by name, at least those that the figure needs.
        options: model (that of Figure 2c), compared (the loss whose changes are shown) and
            releases (evaluation set → release), as far as the figure needs them.
        note: a line for the top margin, such as "Simulated data".

    Returns:
        The figure, 180 mm wide, for `style.save`.
    """
    supplement = SUPPLEMENTS[name]
    arguments = {table: tables[table] for table in supplement.tables}
    arguments |= {option: options[option] for option in supplement.options}
    return supplement.draw(**arguments, note=note)
