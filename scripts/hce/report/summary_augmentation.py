"""The sentence of the summary on augmentation."""

import pandas as pd


def augmentation(report: pd.DataFrame | None) -> str:
    """Says what augmented models were trained with.

    Args:
        report: quantity and value, of the stage augmentation; None where no model asks for it.

    Returns:
        Markdown; empty where there is nothing to say.
    """
    if report is None:
        return ""
    counts = dict(zip(report["quantity"], report["value"].astype(int), strict=True))
    if counts["vectors"] == 0:
        return (
            "**No augmentation was possible**, because no type has training cells of two donors: "
            "models that ask for it were trained without."
        )
    origin = "published" if "published vectors" in counts else "computed from the training cells"
    return (
        f"Models that ask for augmentation were trained on cells shifted by one of "
        f"{counts['vectors']:,} vectors, {origin}."
    )
