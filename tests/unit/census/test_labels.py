"""Labels counted from obs, plain or as dictionaries, and cells without a study."""

import pyarrow as pa
import pytest

from hce.census.labels import LabelCounts
from hce.errors import UserError


def obs(studies: list[str | None], terms: list[str | None], dictionary: bool = False) -> pa.Table:
    columns = {
        "dataset_id": pa.array(studies, pa.string()),
        "cell_type_ontology_term_id": pa.array(terms, pa.string()),
        "cell_type": pa.array([term and term.lower() for term in terms], pa.string()),
    }
    if dictionary:
        columns = {name: column.dictionary_encode() for name, column in columns.items()}
    return pa.table(columns)


@pytest.mark.parametrize("dictionary", [False, True])
def test_counts_add_up_over_the_tables_of_a_stream(dictionary):
    labels = LabelCounts()
    labels.add(obs(["a", "a", "b"], ["X", "Y", "X"], dictionary), "here")
    labels.add(obs(["a", "b"], ["X", None], dictionary), "here")
    assert labels.table().to_numpy().tolist() == [
        ["a", "X", "x", 2],
        ["a", "Y", "y", 1],
        ["b", "X", "x", 1],
        ["b", "unknown", "unknown", 1],
    ]


@pytest.mark.parametrize("missing", [None, ""])
def test_cells_without_a_study_are_refused(missing):
    with pytest.raises(UserError, match=r"here has 2 cells without a study \(dataset_id\)"):
        LabelCounts().add(obs(["a", missing, missing], ["X", "Y", "Y"]), "here")
