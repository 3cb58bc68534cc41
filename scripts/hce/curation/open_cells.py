"""Cells of new studies whose label is not a type of the run."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hce.curation.matching import COLUMN_OF

# Cells of a study and label, enough for shares to a few %; a Census has millions of such cells.
MOST = 1000


def select_open_cells(
    cells: pd.DataFrame,
    known_studies: Sequence[str],
    types: pd.DataFrame,
    vocabularies: pd.DataFrame,
    match: str = "label",
) -> pd.DataFrame:
    """Cells that no evaluation set has, because their label is not a type of the models.

    Args:
        cells: a newer release's primary cells of the selected assays.
        known_studies: dataset_ids of the releases that decide what is new.
        types: cl_id and label of the types.
        vocabularies: of the release; labels that the ontology lacks are left out.
        match: the column by which types are found, see `select_new_studies`.

    Returns:
        soma_joinid, study and cl_id (the label as a term), ascending in soma_joinid. Of a study and
        label with more than `MOST` cells, as many drawn at random.
    """
    column = cells[COLUMN_OF[match]]
    terms = cells["cell_type_ontology_term_id"]
    known = set(vocabularies.loc[vocabularies["known"], "cl_id"])
    chosen = cells[
        ~cells["dataset_id"].isin(list(known_studies))
        & ~column.isin(types[match].tolist())
        & terms.isin(list(known))
    ]
    shuffled = chosen.iloc[np.random.default_rng(0).permutation(len(chosen))]
    drawn = shuffled.groupby(["dataset_id", terms.name], observed=True).cumcount() < MOST
    chosen = chosen[drawn.sort_index()]
    return pd.DataFrame(
        {
            "soma_joinid": chosen["soma_joinid"],
            "study": chosen["dataset_id"].cat.remove_unused_categories(),
            "cl_id": chosen["cell_type_ontology_term_id"].cat.remove_unused_categories(),
        }
    ).reset_index(drop=True)
