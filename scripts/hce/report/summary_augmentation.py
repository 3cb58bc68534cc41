"""The sentence of the summary on augmentation."""

import pandas as pd


def augmentation(report: pd.DataFrame | None) -> str:
    """Describes the vectors that augmented models were trained with.

    Args:
        report: quantity and value, of the stage augmentation; None if no model uses it.

    Returns:
        Markdown; empty without a report.
    """
    if report is None:
        return ""
    counts = dict(zip(report["quantity"], report["value"], strict=True))
    if counts["vectors"] == 0:
        return (
            "**No augmentation was possible**, because no type has training cells of three donors. "
            "Models with `augmentation: true` were trained without it."
        )
    origin = "published" if "published vectors" in counts else "computed from the training cells"
    return (
        "Models with `augmentation: true` were trained on cells that are each shifted by one of "
        f"{int(counts['vectors']):,} vectors, {origin}."
    )
