"""Made-up tables of a run of six types, as the explorer reads them."""

import numpy as np
import pandas as pd

from hce.evaluation.statistics import all_changes
from hce.explorer.data import explorer_data
from hce.metrics import KINDS

TYPES = {
    "CL:0000576": "monocyte",
    "CL:0000860": "classical monocyte",
    "CL:0001054": "CD14-positive monocyte",
    "CL:0002057": "CD14-positive, CD16-negative classical monocyte",
    "CL:0000084": "T cell",
    "CL:0000066": "epithelial <b>cell</b></script>",
}
SYNONYMS = {"CL:0000084": {"T lymphocyte": True, "<i>T</i>": False}}
FITS = [
    (model, loss, seed) for model in ("linear", "mlp") for loss in ("ce", "hce") for seed in (0, 1)
]
SETS = ("val", "id", "ood")


def make_tables(hierarchy, fits=FITS):
    """Random tables of a run; the T cell is missing in the OOD set."""
    rng = np.random.default_rng(0)
    types = hierarchy.types[["index", "cl_id", "label"]]
    per_type, confusion, per_stratum = [], [], []
    for model, loss, seed in fits:
        for name in SETS:
            head = {"model": model, "loss": loss, "seed": seed, "set": name, "decoder": "argmax"}
            present = types[(types["label"] != "T cell") | (name != "ood")]
            scores = present.assign(cells=10, credited_f1=rng.random(len(present)), exact_f1=0.25)
            scores["study_aware_f1"] = 0.5
            per_type.append(scores.assign(**head))
            pairs = [(i, j) for i in present["index"] for j in types["index"]]
            table = pd.DataFrame(pairs, columns=["label", "prediction"])
            confusion.append(table.assign(cells=rng.integers(1, 20, len(table)), **head))
            strata = pd.DataFrame({"kind": ["study", "tissue"], "stratum": ["s1", "s1"]})
            strata = strata.assign(study_aware_macro_f1=0.4, exact_macro_f1=0.3)
            gain = (0.1 + 0.02 * seed) * (loss == "hce")
            per_stratum.append(strata.assign(credited_macro_f1=[0.5 + gain, 0.9], **head))
    per_type = pd.concat(per_type, ignore_index=True)
    per_stratum = pd.concat(per_stratum, ignore_index=True)
    unit = ["index", "cl_id", "label"]
    data_types = types.assign(train_cells=100, cells_train=100, cells_id=10, cells_ood=10)
    return {
        "overall": make_overall(fits),
        "bootstrap": make_bootstrap(fits),
        "type_genes": make_genes(),
        "per_type": per_type,
        "type_changes": all_changes(per_type, "f1", unit, "ce", 0.05),
        "confusion": pd.concat(confusion, ignore_index=True),
        "per_stratum": per_stratum,
        "stratum_changes": all_changes(per_stratum, "macro_f1", ["kind", "stratum"], "ce", 0.05),
        "data_types": data_types,
    }


def make_overall(fits):
    columns = ["model", "loss", "seed", "set", "decoder", "score", "value"]
    rows = [
        (*fit, name, "argmax", f"{kind}_macro_f1", 0.5 + 0.1 * (fit[1] == "hce") + 0.01 * fit[2])
        for fit in fits
        for name in SETS
        for kind in KINDS
    ]
    return pd.DataFrame(rows, columns=columns)


def make_bootstrap(fits):
    columns = [
        "model",
        "set",
        "decoder",
        "baseline",
        "loss",
        "score",
        "change",
        "ci_low",
        "ci_high",
    ]
    rows = [
        (model, name, "argmax", "ce", "hce", f"{kind}_macro_f1", 0.1, 0.05, 0.2)
        for model in dict.fromkeys(model for model, _, _ in fits)
        for name in SETS
        for kind in KINDS
        if len({loss for _, loss, _ in fits}) > 1
    ]
    return pd.DataFrame(rows, columns=columns)


def make_genes():
    columns = ["model", "loss", "index", "direction", "rank", "gene"]
    rows = [
        ("linear", loss, i, direction, rank, f"{direction.upper()}{rank}")
        for loss in ("ce", "hce")
        for i in range(len(TYPES))
        for direction in ("for", "against")
        for rank in (2, 1)
    ]
    return pd.DataFrame(rows, columns=columns)


def collect(tables, hierarchy, studies, note=None):
    return explorer_data(tables, hierarchy.types, studies, "test", note, 0.05, SYNONYMS)
