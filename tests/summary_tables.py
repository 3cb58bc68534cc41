"""Made-up tables of a run of the MLP, for the summary."""

import itertools
import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from hce.evaluation.decomposition import COLUMNS
from hce.evaluation.statistics import all_changes
from hce.files import read_tsv
from hce.metrics import KINDS

PUBLISHED = Path(__file__).parents[1] / "resources" / "published.tsv"
FITS = [["mlp", loss, seed] for loss in ("ce", "hce") for seed in range(4)]
HEAD = ["model", "loss", "seed", "set", "decoder"]


def make_tables(
    losses: tuple[str, ...] = ("ce", "hce"),
    seeds: int = 4,
    sets: tuple[str, ...] = ("val", "id", "ood"),
) -> dict[str, pd.DataFrame]:
    """Tables of a run of the MLP; CE has 57 % on the OOD set and HCE 13 points more."""
    return dict(_tables(losses, seeds, sets))


@cache
def _tables(losses: tuple[str, ...], seeds: int, sets: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(1)
    overall, per_type, per_stratum = [], [], []
    for loss in losses:
        for seed in range(seeds):
            for name in sets:
                head = ("mlp", loss, seed, name, "argmax")
                level = (0.57 if name == "ood" else 0.82) + 0.13 * (loss != "ce")
                level += 0.001 * (seed - (seeds - 1) / 2) * (1 + (loss != "ce"))
                kinds = ("credited", level), ("study_aware", level - 0.1), ("exact", level - 0.2)
                for kind, value in kinds:
                    overall.append((*head, f"{kind}_macro_f1", value))
                    if "ood" in sets:
                        shift = 0.0 if name == "ood" else 0.03
                        overall.append((*head, f"{kind}_macro_f1_ood_types", value + shift))
                for index in range(5):
                    # The last type varies so much that its fall does not prove anything.
                    noise = (0.2 if index == 4 else 0.002) * rng.standard_normal()
                    value = level - 0.1 * index * (loss != "ce") + noise
                    values = value, value - 0.1, value - 0.2
                    per_type.append((*head, index, f"CL:{index}", f"type {index}", *values))
                for study in range(3):
                    value = level + 0.002 * rng.standard_normal()
                    values = value, value - 0.1, value - 0.2
                    per_stratum.append((*head, "study", f"study {study}", *values))
    type_columns = [*HEAD, "index", "cl_id", "label", *(f"{kind}_f1" for kind in KINDS)]
    per_type = pd.DataFrame(per_type, columns=type_columns)
    stratum_columns = [*HEAD, "kind", "stratum", *(f"{kind}_macro_f1" for kind in KINDS)]
    per_stratum = pd.DataFrame(per_stratum, columns=stratum_columns)
    totals = [("train", 15240192, 164, 5000, 240, 56), ("reference", 22189056, 164, 5052, 249, 56)]
    if "ood" in sets:
        totals.append(("ood", 2612345, 79, 470, 30, 16))
    return {
        "overall": pd.DataFrame(overall, columns=[*HEAD, "score", "value"]),
        "type_changes": all_changes(per_type, "f1", ["index", "cl_id", "label"], "ce", 0.05),
        "stratum_changes": all_changes(per_stratum, "macro_f1", ["kind", "stratum"], "ce", 0.05),
        "data_totals": pd.DataFrame(
            totals, columns=["set", "cells", "types", "donors", "studies", "tissues"]
        ),
        "report": pd.DataFrame(
            {
                "release": "2023-05-15",
                "step": "genes",
                "quantity": ["genes", "types | annotated"],
                "value": [19331, 500],
                "published": [19331, np.nan],
                "equal": ["equal", np.nan],
            }
        ),
        "published": read_tsv(PUBLISHED),
        "factorial": make_factorial(losses, sets),
        "calibrated_precision": make_calibrated_precision(losses, sets),
        "bootstrap": make_bootstrap(losses, sets),
        "decomposition": make_decomposition(losses, sets),
        "controls": make_controls(sets),
        "audit": pd.DataFrame(
            {
                "release": "2023-12-15",
                "set": ["ood", "ood", "reference"],
                "quantity": ["cells", "leaky cells", "cells held more than once"],
                "value": [1000, 250, 17],
            }
        ),
    }


def make_factorial(losses: tuple[str, ...], sets: tuple[str, ...]) -> pd.DataFrame:
    rows = []
    for name, loss, decoder in itertools.product(sets, losses, ("argmax", "ancestor_sum")):
        share = 1.0 if loss != "ce" else 0.75 if decoder == "ancestor_sum" else 0.0
        for kind in ("all", "connected_leaf"):
            value = np.nan if kind != "all" and loss == "ce" else 0.5
            rows.append(("mlp", name, loss, decoder, kind, 4, value, 0.01, share))
    columns = ["model", "set", "loss", "decoder", "kind", "seeds", "credited_macro_f1", "sd"]
    table = pd.DataFrame(rows, columns=[*columns, "share_of_gain"])
    return table.assign(
        study_aware_macro_f1=0.4, study_aware_sd=0.01, exact_macro_f1=0.3, exact_sd=0.01
    )


def make_calibrated_precision(losses: tuple[str, ...], sets: tuple[str, ...]) -> pd.DataFrame:
    """The last loss does not reach 0.9."""
    rows = []
    for name, loss, asked in itertools.product(sets, losses, (0.5, 0.9)):
        found = [0.62, 0.85, 0.77 if name == "ood" else 0.91, 0.54, 0.84]
        if asked == 0.9 and loss == losses[-1]:
            found = [np.nan] * 5
        rows.append(("mlp", loss, 0, name, asked, *found))
    columns = ["model", "loss", "seed", "set", "asked", "threshold", "coverage"]
    return pd.DataFrame(rows, columns=[*columns, "right", "confirmed", "credited"])


def make_bootstrap(losses: tuple[str, ...], sets: tuple[str, ...]) -> pd.DataFrame:
    rows = [
        ("mlp", name, "argmax", "ce", loss, "credited_macro_f1", 21, 2000, 0.13, 0.08, 0.171, 0.001)
        for name in sets
        for loss in losses
        if loss != "ce"
    ]
    columns = ["model", "set", "decoder", "baseline", "loss", "score", "studies", "draws"]
    table = pd.DataFrame(rows, columns=[*columns, "change", "ci_low", "ci_high", "p"])
    return table.assign(donors=470, nested_low=0.07, nested_high=0.181, nested_p=0.002)


def make_decomposition(losses: tuple[str, ...], sets: tuple[str, ...]) -> pd.DataFrame:
    """A gain of 25.8 points: 16.2 decoding, 7.9 contradiction, 1.7 rest."""
    rows = [
        ("mlp", name, "ce", "hce", scope, "", 80, 4, part, value, value - 0.02, value + 0.02, share)
        for name in sets
        for scope in ("all", "internal")
        for part, value, share in (
            ("gain", 0.258, 1.0),
            ("decoding", 0.162, 0.628),
            ("contradiction", 0.079, 0.306),
            ("rest", 0.017, 0.066),
        )
        if {"ce", "hce"} <= set(losses)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def make_controls(sets: tuple[str, ...]) -> pd.DataFrame:
    rows = [
        ("placebo", "mlp", "hce_placebo", seed, name, "argmax", score, value)
        for name in sets
        for seed, score, value in (
            (0, "credited_macro_f1", 0.6),
            (0, "study_aware_macro_f1", 0.45),
            (0, "exact_macro_f1", 0.3),
        )
    ]
    return pd.DataFrame(rows, columns=["control", *HEAD, "score", "value"])


def cells_of(text: str) -> list[list[str]]:
    """Cells of all lines of tables, of a summary in Markdown."""
    return [re.split(r"\s*\|\s*", line)[1:-1] for line in text.splitlines() if "|" in line]
