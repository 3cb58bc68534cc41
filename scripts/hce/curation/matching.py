"""The types of a release's annotations: by label, as in the published code, or by CL id.

Labels of the Cell Ontology change from release to release; ids stay. A type that was renamed has no
cells by label, and a term whose label went to another one has the cells of that.
"""

import pandas as pd

# `curation.match`, which is also a column of the types → the column of the release's cells.
COLUMN_OF = {"label": "cell_type", "cl_id": "cell_type_ontology_term_id"}


def count_annotations(cells: pd.DataFrame) -> pd.DataFrame:
    """How many cells have each annotation: label, cl_id, cells.

    Args:
        cells: cell_type and cell_type_ontology_term_id.
    """
    counts = cells.groupby(list(COLUMN_OF.values()), observed=True).size()
    return (
        counts.rename_axis(list(COLUMN_OF))
        .reset_index(name="cells")
        .astype(dict.fromkeys(COLUMN_OF, str))
    )


def types_both_ways(annotations: pd.DataFrame, types: pd.DataFrame) -> pd.DataFrame:
    """Adds the type of each annotation by label and by CL id.

    Args:
        annotations: label, cl_id, cells.
        types: the types: cl_id, label.

    Returns:
        Its columns, by_label and by_id: label of the type, or "".
    """
    names = dict(zip(types["cl_id"], types["label"], strict=True))
    label = annotations["label"]
    return annotations.assign(
        by_label=label.where(label.isin(types["label"]), ""),
        by_id=annotations["cl_id"].map(names).fillna(""),
    )


def report_differences(annotations: pd.DataFrame) -> list[tuple[str, int]]:
    """The annotations whose type differs between the two ways, with their cells, for the report.

    Args:
        annotations: result of `types_both_ways`.
    """
    steps = []
    differ = annotations["by_label"] != annotations["by_id"]
    for row in annotations[differ].to_dict("records"):
        by_label, by_id = (
            f"{name} by {way}" if name else f"lost by {way}"
            for name, way in ((row["by_label"], "label"), (row["by_id"], "CL id"))
        )
        annotation = f"{row['label']} ({row['cl_id']})"
        steps.append((f"cells of {annotation}: {by_label}, {by_id}", int(row["cells"])))
    return steps
