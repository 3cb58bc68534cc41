"""Made-up tables of a run to draw figures from, over the real hierarchy of the types."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from hce.files import read_tsv
from hce.metrics import KINDS
from hce.models.summary import COLUMNS, describe_layers
from hce.ontology import Hierarchy, read_ontology

ONTOLOGY = Path(__file__).parents[1] / "resources" / "ontology"
TISSUES = ("blood", "brain", "lung", "heart", "eye", "kidney", "bone marrow", "lymph node", "liver",
           "breast", "spleen", "small intestine", "colon", "skin of body", "placenta", "pancreas",
           "adipose tissue", "large intestine", "exocrine gland", "respiratory system")  # fmt: skip


CHANGES = ["model", "set", "decoder", "baseline", "loss", "score", "index", "cl_id", "label",
           "seeds", "baseline_f1", "f1", "change", "ci_low", "ci_high", "t", "p", "p_holm",
           "significant"]  # fmt: skip
RELEASES = {"id": "2023-05-15", "ood": "2023-12-15", "ood_2024-07-01": "2024-07-01"}
RUNS = {
    "three models": {},
    "one seed, four losses": {"models": ("linear",), "seeds": 1,
                              "losses": ("ce", "hce", "hce_log", "mixed")},
    "few types": {
        "models": ("linear",),
        "seeds": 2,
        "labels": ("B cell", "T cell", "CD14-positive monocyte", "natural killer cell",
                   "naive B cell", "regulatory T cell", "platelet", "hematopoietic stem cell"),
    },
    "without OOD data": {"models": ("linear",), "ood": False},
    "without a baseline": {"models": ("linear",), "losses": ("hce",)},
}  # fmt: skip


@dataclass
class Tables:
    """The tables of a made-up run."""

    overall: pd.DataFrame
    type_changes: pd.DataFrame
    per_type: pd.DataFrame
    confusion: pd.DataFrame
    data_totals: pd.DataFrame
    data_tissues: pd.DataFrame
    data_types: pd.DataFrame
    per_stratum: pd.DataFrame
    stratum_changes: pd.DataFrame
    audit_studies: pd.DataFrame
    factorial: pd.DataFrame
    decomposition: pd.DataFrame
    history: pd.DataFrame
    calibration: pd.DataFrame
    bootstrap: pd.DataFrame
    models: pd.DataFrame
    report: pd.DataFrame
    agreement: pd.DataFrame


def make_tables(
    models: tuple[str, ...] = ("linear", "mlp", "tabnet"),
    losses: tuple[str, ...] = ("hce", "ce"),
    seeds: int = 4,
    ood: bool = True,
    labels: tuple[str, ...] = (),
) -> Tables:
    """Plausible tables, over all types or those of the given labels."""
    random = np.random.default_rng(0)
    known = read_tsv(ONTOLOGY / "cell_types_164.tsv")
    if labels:
        known = known[known["label"].isin(labels)]
    hierarchy = Hierarchy.build(
        dict(zip(known["cl_id"], known["label"], strict=True)),
        read_ontology(ONTOLOGY / "cl-slim.obo"),
    )
    types = hierarchy.types.drop(columns="n_ancestors")
    n = len(types)
    types["parents"] = types["parents"].map(";".join).replace("", np.nan)
    types["train_cells"] = np.round(10 ** random.normal(4.4, 0.7, len(types))).astype(int)
    for name, most in (("studies", 60), ("tissues", 30), ("assays", 7)):
        types[f"train_{name}"] = random.integers(1, most, len(types))
    for name, share in (("train", 1.0), ("val", 0.2), ("id", 0.2)):
        types[f"cells_{name}"] = (types["train_cells"] * share).astype(int)
    in_ood = types.merge(known, on="cl_id")["in_ood_80"].to_numpy() == 1
    if ood:
        types["cells_ood"] = np.where(in_ood, 10 ** random.normal(3.7, 0.7, n), 0).astype(int)

    sets = ("train", "val", "id", *(("ood",) if ood else ()))
    totals = [
        (s, types[f"cells_{s}"].sum(), (types[f"cells_{s}"] > 0).sum(), 5052, 249, 56) for s in sets
    ]
    totals += [("ood_2024-07-01", 1_000, 90, 40, 3, 2)] if ood else []
    totals.append(("reference", types["train_cells"].sum(), 164, 5052, 249, 56))
    tissues = pd.DataFrame(
        [
            (s, tissue, int(10 ** random.normal(5.5 - 0.1 * i, 0.2)))
            for s in sets
            for i, tissue in enumerate(TISSUES)
            if s != "ood" or i % 2 == 0
        ],
        columns=["set", "tissue_general", "cells"],
    )
    in_ood = in_ood & ood
    fits = (models, losses, seeds)
    strata, stratum_changes = _strata(*fits, random) if ood else (_NO_STRATA, _NO_STRATUM_CHANGES)
    return Tables(
        overall=_overall(*fits, sets[1:], random),
        type_changes=(changes := _changes(types[in_ood], *fits, random)),
        per_type=_per_type(changes, *fits),
        confusion=_confusion(hierarchy, in_ood, *fits, random),
        data_totals=pd.DataFrame(
            totals, columns=["set", "cells", "types", "donors", "studies", "tissues"]
        ),
        data_tissues=tissues,
        data_types=types,
        per_stratum=strata,
        stratum_changes=stratum_changes,
        audit_studies=_audit_studies(ood),
        factorial=_factorial(models, losses, seeds, sets[1:], random),
        decomposition=_decomposition(models, losses, ood, random),
        history=_history(*fits, random),
        bootstrap=_bootstrap(models, losses, ood),
        calibration=_calibration(*fits, sets[1:], random),
        models=_models(models),
        report=_report(ood),
        agreement=_agreement(ood),
    )


def _agreement(ood):
    """How far studies agree in one of two releases."""
    rows = [("2023-12-15", "all", 0.9, 0.8, 0.7), ("2023-12-15", "CL:0000084", 0.5, 0.4, 0.3)]
    columns = ["release", "cl_id", "credited_f1", "study_aware_f1", "exact_f1"]
    return pd.DataFrame(rows if ood else [], columns=columns)


def _report(ood):
    """The rows of the cell report on the new studies of two releases."""
    names = {"2023-12-15": "ood", "2024-07-01": "ood_2024-07-01"} if ood else {}
    rows = [
        (release, "new", quantity, cells)
        for release, name in names.items()
        for quantity, cells in (("cells in new studies", 4000), (f"{name} cells", 3500))
    ]
    return pd.DataFrame(rows, columns=["release", "step", "quantity", "value"])


def _models(models):
    """As for the paper; a published checkpoint does not say its weight decay."""
    rows = [
        (name, name, "published" if name == "tabnet" else "trained", 19_331,
         describe_layers(name, 19_331, 164, {}), 164, 12_345_678, 0.0005, 0.9,
         np.nan if name == "tabnet" else 0.05, "yes")
        for name in models
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _overall(models, losses, seeds, sets, random):
    scores = [f"{kind}_macro_f1" for kind in KINDS]
    if "ood" in sets:
        scores += [f"{kind}_macro_f1_ood_types" for kind in KINDS]
    if "ood" in sets:
        sets = (*sets, "ood_clean", "ood_2024-07-01", "ood_2024-07-01_clean")
    scores += ["ece", "ece_credited"]
    fits = product(models, losses, range(seeds), sets, ("argmax", "ancestor_sum"), scores)
    rows = []
    for model, loss, seed, name, decoder, score in fits:
        value = 0.55 if name.startswith("ood") else 0.8
        value += 0.02 * models.index(model) + random.normal(0, 0.006)
        value += (0.13 if name.startswith("ood") else 0.02) * (loss != "ce")
        value -= 0.1 * score.startswith("exact") + 0.05 * score.startswith("study")
        value += 0.03 * ("ood_types" in score and name == "id")
        value += 0.05 * (decoder == "ancestor_sum")
        rows.append((model, loss, seed, name, decoder, score, value))
    columns = ["model", "loss", "seed", "set", "decoder", "score", "value"]
    return pd.DataFrame(rows, columns=columns)


def _changes(types, models, losses, seeds, random):
    rows = []
    others = [loss for loss in losses if loss != "ce" and "ce" in losses]
    for model, loss in product(models, others):
        for t in types.itertuples(index=False):
            centre = np.clip(random.normal(0.13, 0.22), -0.5, 0.9)
            per_seed = centre + random.normal(0, 0.01 + 0.04 * random.random(), seeds)
            mean = per_seed.mean()
            p = stats.ttest_1samp(per_seed, 0).pvalue if seeds > 1 else np.nan
            ci = stats.sem(per_seed) * stats.t.ppf(0.975, seeds - 1) if seeds > 1 else np.nan
            rows.append(
                {
                    "model": model, "set": "ood", "decoder": "argmax", "baseline": "ce",
                    "loss": loss, "score": "credited_f1", "index": t.index, "cl_id": t.cl_id,
                    "label": t.label, "seeds": seeds, "baseline_f1": 0.5, "f1": 0.5 + mean,
                    "change": mean,
                    "ci_low": mean - ci, "ci_high": mean + ci, "t": np.nan, "p": p,
                    "p_holm": min(1, 80 * p), "significant": bool(80 * p < 0.05),
                }
            )  # fmt: skip
    credited = pd.DataFrame(rows, columns=CHANGES)
    others = [
        credited.assign(score=f"{kind}_f1", change=credited["change"] - less)
        for kind, less in (("study_aware", 0.1), ("exact", 0.3))
    ]
    return pd.concat([credited, *others], ignore_index=True)


def _per_type(changes, models, losses, seeds):
    """The scores of single seeds, whose changes lie around those of `changes`."""
    rows = []
    credited = changes[changes["score"] == "credited_f1"]
    types = dict.fromkeys(credited["cl_id"])
    known = credited.set_index(["model", "loss", "cl_id"])["change"].to_dict()
    for fit in product(models, losses, range(seeds), types):
        model, loss, seed, cl_id = fit
        change = known.get((model, loss, cl_id), 0.0) + 0.01 * (seed - (seeds - 1) / 2)
        rows.append((model, loss, seed, "ood", "argmax", cl_id, 0.5 + change * (loss != "ce")))
    return pd.DataFrame(rows, columns=[*HEAD, "cl_id", "credited_f1"])


def _confusion(hierarchy, in_ood, models, losses, seeds, random):
    rows = []
    for model, loss, seed in product(models, losses, range(seeds)):
        for label in np.flatnonzero(in_ood):
            below = np.flatnonzero(hierarchy.reachability[label])
            above = np.flatnonzero(hierarchy.reachability[:, label])
            near = np.concatenate(
                [below, above[above != label], random.integers(0, len(in_ood), 3)]
            )
            weight = random.exponential(1, len(near)) ** 2
            weight[: len(below)] *= 1 if loss == "ce" else 4
            cells = random.multinomial(5000, weight / weight.sum())
            counts = pd.Series(cells).groupby(near).sum()
            key = (model, loss, seed, "ood", "argmax", label)
            rows += [(*key, prediction, n) for prediction, n in counts.items() if n]
    columns = ["model", "loss", "seed", "set", "decoder", "label", "prediction", "cells"]
    return pd.DataFrame(rows, columns=columns)


HEAD = ["model", "loss", "seed", "set", "decoder"]
STRATUM = ["kind", "stratum", "in_training", "cells", "types", "credited_macro_f1",
           "study_aware_macro_f1", "exact_macro_f1"]  # fmt: skip
DISEASES = (
    "normal",
    "COVID-19",
    "lung adenocarcinoma",
    "Crohn disease",
    "chronic obstructive pulmonary disease and what comes with it",
    "gingivitis",
)
_NO_STRATA = pd.DataFrame(columns=[*HEAD, *STRATUM])
_STRATUM_CHANGES = [*CHANGES[:6], "kind", "stratum", *CHANGES[9:]]
_NO_STRATUM_CHANGES = pd.DataFrame(columns=_STRATUM_CHANGES)
_N_STUDIES = 21


def _strata(models, losses, seeds, random):
    """Scores by stratum, the smallest study with one type only, and the changes of the strata."""
    members = {
        "study": [f"study-{i}" for i in range(_N_STUDIES)],
        "tissue": [f"layer {i} of {tissue}" for i in range(3) for tissue in TISSUES[:16]],
        "tissue_general": TISSUES[:16],
        "disease": DISEASES,
        **{f"{kind}_seen": ("seen", "unseen") for kind in ("tissue", "tissue_general", "disease")},
    }
    parts, changes = [], []
    for kind, names in members.items():
        cells = np.sort((10 ** random.normal(4, 1, len(names))).astype(int) + 10)[::-1]
        types = np.maximum(1, np.linspace(60, 1, len(names)).astype(int))
        level = random.normal(0.55, 0.1, len(names))
        values = {}
        for model, loss, seed in product(models, losses, range(seeds)):
            f1 = level + 0.1 * (loss != "ce") + random.normal(0, 0.01, len(names))
            values[model, loss, seed] = f1
            part = pd.DataFrame(
                {"kind": kind, "stratum": names, "in_training": np.arange(len(names)) % 3 != 1,
                 "cells": cells, "types": types, "credited_macro_f1": f1,
                 "study_aware_macro_f1": f1 - 0.05, "exact_macro_f1": f1 - 0.1}
            )  # fmt: skip
            for i, value in enumerate((model, loss, seed, "ood", "argmax")):
                part.insert(i, HEAD[i], value)
            parts.append(part)
        for model, loss in product(models, losses):
            if loss == "ce" or "ce" not in losses:
                continue
            old, new = (
                np.mean([values[model, name, seed] for seed in range(seeds)], axis=0)
                for name in ("ce", loss)
            )
            p = np.full(len(names), 0.001 if seeds > 1 else np.nan)
            part = pd.DataFrame(
                {"kind": kind, "stratum": names, "seeds": seeds, "baseline_f1": old, "f1": new,
                 "change": new - old, "ci_low": new - old - 0.02, "ci_high": new - old + 0.02,
                 "t": np.nan, "p": p, "p_holm": p, "significant": (p < 0.05) & (new - old > 0.1)}
            )  # fmt: skip
            named = (model, "ood", "argmax", "ce", loss, "credited_macro_f1")
            for i, value in enumerate(named):
                part.insert(i, _STRATUM_CHANGES[i], value)
            changes.append(part)
    return pd.concat(parts), pd.concat(changes) if changes else _NO_STRATUM_CHANGES


def _audit_studies(ood):
    rows = [
        ("ood", f"study-{i}", f"An atlas of the human organ number {i}, in health and in disease")
        for i in range(_N_STUDIES if ood else 0)
    ]
    return pd.DataFrame(rows, columns=["set", "study", "title"])


def _bootstrap(models, losses, ood):
    columns = ["model", "set", "decoder", "baseline", "loss", "score", "studies", "draws", "change",
               "ci_low", "ci_high", "p"]  # fmt: skip
    rows = [
        (model, "ood", "argmax", "ce", loss, score, _N_STUDIES, 2000, 0.125, 0.081, 0.173, 0.001)
        for model, loss in product(models, losses)
        for score in ("credited_macro_f1", "exact_macro_f1")
        if ood and loss != "ce" and "ce" in losses
    ]
    return pd.DataFrame(rows, columns=columns)


def _factorial(models, losses, seeds, sets, random):
    kinds = ("all", "internal", "connected_leaf", "isolated_leaf")
    decoders = ("argmax", "ancestor_sum", "prior_corrected", "back_off_0.8")
    rows = []
    for model, name, loss, decoder, kind in product(models, sets, losses, decoders, kinds):
        gain = 0.13 * (loss != "ce") + 0.08 * (decoder == "ancestor_sum") * (loss == "ce")
        value = 0.5 + gain + random.normal(0, 0.01)
        sd = 0.01 if seeds > 1 else np.nan
        share = (value - 0.5) / 0.13 if "ce" in losses and "hce" in losses else np.nan
        others = (value - 0.05, value - 0.1)
        rows.append((model, name, loss, decoder, kind, seeds, value, sd, share, *others))
    columns = ["model", "set", "loss", "decoder", "kind", "seeds", "credited_macro_f1", "sd",
               "share_of_gain", "study_aware_macro_f1", "exact_macro_f1"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _decomposition(models, losses, ood, random):
    columns = ["model", "set", "baseline", "loss", "scope", "unit", "types", "seeds", "part",
               "change", "ci_low", "ci_high", "share"]  # fmt: skip
    if not ood or not {"ce", "hce"} <= set(losses):
        return pd.DataFrame(columns=columns)
    scopes = [(kind, "") for kind in ("all", "internal", "connected_leaf", "isolated_leaf")]
    scopes += [("study", f"study-{i}") for i in range(_N_STUDIES)]
    rows = []
    for model, (scope, unit) in product(models, scopes):
        parts = random.normal((0.1, 0.05, 0.02), 0.03)
        for part, value in zip(("gain", "decoding", "contradiction", "rest"),
                               (parts.sum(), *parts), strict=True):  # fmt: skip
            head = (model, "ood", "ce", "hce", scope, unit, 80, 4, part)
            rows.append((*head, value, value - 0.04, value + 0.04, value / parts.sum()))
    return pd.DataFrame(rows, columns=columns)


def _history(models, losses, seeds, random):
    rows = [
        (model, loss, seed, epoch, 0.8 - 0.5 / (epoch + 1) + random.normal(0, 0.01))
        for model, loss, seed in product(models, losses, range(seeds))
        for epoch in range(8 + seed)
    ]
    columns = ["model", "loss", "seed", "epoch", "val_credited_macro_f1"]
    table = pd.DataFrame(rows, columns=columns)
    best = table.groupby(columns[:3])["val_credited_macro_f1"].transform("max")
    return table.assign(
        val_study_aware_macro_f1=table["val_credited_macro_f1"] - 0.1,
        kept=table["val_credited_macro_f1"] == best,
    )


def _calibration(models, losses, seeds, sets, random):
    rows = []
    fits = product(
        models, losses, range(seeds), sets, ("argmax", "ancestor_sum"), ("p", "s", "credited")
    )
    for fit in fits:
        for i in range(10):
            lower, upper = i / 10, (i + 1) / 10
            share = np.clip(lower + random.normal(-0.05, 0.02), 0, 1)
            rows.append((*fit, i, lower, upper, 50 * i, lower + 0.05, share))
    columns = [*HEAD, "probability", "bin", "lower", "upper", "cells", "mean_probability",
               "accuracy"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)
