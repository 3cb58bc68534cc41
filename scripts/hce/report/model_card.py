"""The card of a model file: Markdown with what a reader must know before using it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hce.annotate.annotator import Annotator
from hce.annotate.calibration import NEW, STUDIES
from hce.annotate.explain import SETS_SHOWN, tree
from hce.report.markdown import markdown_table

PAPER = "https://doi.org/10.1038/s43588-025-00945-z"
CREDITED, STUDY_AWARE, EXACT = (f"{kind}_macro_f1" for kind in ("credited", "study_aware", "exact"))


def model_card(annotator: Annotator, path: str | Path) -> str:
    """The card of a model.

    Args:
        annotator: the model, read from its file.
        path: the file.
    """
    parts = [
        f"# {Path(path).stem}",
        _model(annotator),
        "## Data\n\n" + _data(annotator.trained.provenance),
        "## Scores\n\n" + _scores(annotator),
        "## Calibrated precision\n\n" + _precision(annotator),
        "## Limits\n\n" + "\n".join(f"* {limit}" for limit in _limits(annotator)),
        "## Licence\n\n" + _licence(annotator.trained.provenance),
        "## Types\n\n" + _types(annotator),
    ]
    return "\n\n".join(parts) + "\n"


def _model(annotator: Annotator) -> str:
    trained = annotator.trained
    provenance = trained.provenance
    size = sum(parameter.numel() for parameter in trained.model.parameters())
    lines = [
        f"A model of class `{provenance['model']['class']}` with {size:,} weights, trained with "
        f"the loss `{provenance['loss']['class']}` (seed {provenance['seed']}). It reads "
        f"raw counts of {len(trained.genes):,} human genes and knows {len(trained.types)} types; "
        f"the decoder `{annotator.decoder}` chooses among them. The file's SHA-256 begins with "
        f"`{annotator.fingerprint}`."
    ]
    if annotator.panel is not None:
        lines.append(
            f"It is calibrated for a panel of {annotator.panel.sum():,} of these genes, and reads "
            "no others. The scores below are of all genes, the calibrated precision is the panel's."
        )
    if published := provenance.get("published"):
        lines.append(
            f"The weights are those of the checkpoint `{published['file']}` of the "
            f"[paper]({PAPER}) (SHA-256 `{published['sha256']}`, epoch {published['epoch']})."
        )
    return "\n\n".join(lines)


def _data(provenance: Mapping[str, Any]) -> str:
    data = provenance.get("data", {})
    told = [f"{key} {data[key]}" for key in ("release", "set", "uri", "simulated") if key in data]
    lines = [f"Trained on: {', '.join(told) or 'not recorded'}."]
    if provenance.get("published"):
        lines.append("Which cells of the release these are is described in the paper.")
    return " ".join(lines)


def _scores(annotator: Annotator) -> str:
    scores = annotator.scores[annotator.scores["decoder"] == annotator.decoder]
    wanted = scores[scores["score"].isin([CREDITED, STUDY_AWARE, EXACT])]
    if wanted.empty:
        return "None are known."
    table = wanted.pivot_table("value", "set", "score", sort=False)
    columns = [name for name in (CREDITED, STUDY_AWARE, EXACT) if name in table]
    rows = [
        [str(name), *("" if pd.isna(v) else f"{100 * v:.1f}" for v in row)]
        for name, row in zip(table.index, table[columns].to_numpy(), strict=True)
    ]
    header = ["set", *(name.removesuffix("_macro_f1").replace("_", "-") for name in columns)]
    return (
        "Macro F1 in %. *Credited*: the answer is the label or below it; *study-aware*: the same, "
        "unless the study has a label of its own for the answer; *exact*: it is the label. `id`: "
        "held-out donors, `ood`: new studies, `…_clean`: without leaky cells.\n\n"
        + markdown_table(header, rows, right=header[1:])
    )


def _precision(annotator: Annotator) -> str:
    kept = annotator.calibrated_precision.dropna(subset="threshold")
    if kept.empty:
        return (
            "None: no threshold of the back-off is known to keep a precision. Annotate with "
            "`--no-back-off`."
        )
    rows = []
    for row in kept.to_dict("records"):
        found = annotator.reliability
        for of_set in found[found["asked"] == row["asked"]].to_dict("records"):
            name = SETS_SHOWN.get(of_set["set"], f"{of_set['studies']:g} new studies")
            shares = (f"{of_set[key]:.0%}" for key in ("coverage", "right", "undecided"))
            rows.append([f"{row['asked']:g}", f"{row['threshold']:g}", name, *shares])
    header = ["requested", "threshold", "measured on", "coverage", "right", "undecided"]
    basis, units = kept[["basis", "units"]].iloc[-1]
    return f"Calibrated on {units:,} {basis}.\n\n" + markdown_table(header, rows)


def _limits(annotator: Annotator) -> list[str]:
    kept = annotator.calibrated_precision.dropna(subset="threshold")
    limits = [
        "It answers with its own types and terms above them; cells of other types get the answer "
        "of another."
    ]
    if annotator.novelty is None:
        limits.append("Nothing tells cells of no known type: no novelty is given.")
    if kept.empty:
        limits.append("Nothing is promised of its answers.")
    elif (kept["basis"] != STUDIES).any():
        limits.append("Its precision is lower on new studies: too few were there to calibrate on.")
    if kept.empty or NEW not in set(annotator.reliability["set"]):
        limits.append("Its back-off was not measured on new studies.")
    if annotator.answers.withheld:
        names = ", ".join(annotator.answers.labels[i] for i in annotator.answers.withheld)
        limits.append(f"It is more often wrong than right, and the back-off silent, on: {names}.")
    return limits


def _licence(provenance: Mapping[str, Any]) -> str:
    return str(provenance.get("licence") or "The file does not state one: ask who made it.")


def _types(annotator: Annotator) -> str:
    trained = annotator.trained
    everything = np.ones(len(trained.types), dtype=bool)
    lines = tree(trained.reachability, trained.types["label"].tolist(), everything)
    return "```text\n" + "\n".join(lines) + "\n```"
