"""Definitions shared by several stages: releases, sets, fits, resources and helper functions."""

import math
import os
import re
import shutil

from hce.config import fits_of
from hce.jobs.fingerprint import contents_of
from hce.report.captions import render_caption
from hce.report.words import caption_words
from hce.store.manifest import MANIFEST, NONZERO_BYTES, bytes_in_memory, read_manifest

DATA = config["data"]
REFERENCE = DATA["reference"]["release"]
NEW_RELEASES = [new["release"] for new in DATA["new"]]
RELEASES = [REFERENCE, *NEW_RELEASES]
URIS = {entry["release"]: entry["uri"] for entry in [DATA["reference"], *DATA["new"]]}
LOCAL_CENSUS = DATA["source"] not in ("census", "sctab", "published")
if "census_connections" not in workflow.global_resources:  # otherwise --resources sets it
    workflow.register_resource("census_connections", config["export"]["connections"])

# The release that the cells of each set come from.
OOD_SETS = {
    release: "ood" if release == NEW_RELEASES[0] else f"ood_{release}" for release in NEW_RELEASES
}
SETS = {name: REFERENCE for name in ("train", "val", "id")}
SETS |= {name: release for release, name in OOD_SETS.items()}
EVALUATION_SETS = [name for name in SETS if name != "train"]

FITS = fits_of(config)
TRAINED = list(FITS)
# Published checkpoints, which all later stages treat as fits, and published predictions.
PUBLISHED, RESULTS = (
    {
        (entry["name"], entry["loss"], entry["seed"]): entry
        for entry in config["published"]
        if entry["holds"] == holds
    }
    for holds in ("checkpoint", "results")
)
PUBLISHED_NAMES = list(dict.fromkeys(name for name, _, _ in PUBLISHED))
FITS += PUBLISHED

# Settings for a few studies only (config/pilot.yaml), or None; and the table of the cells to use.
STUDIES = config["curation"]["studies"]
RELEASE_CELLS = (
    "<data>/cells/chosen/{release}.parquet" if STUDIES else "<data>/census/{release}/cells.parquet"
)
# Steps of the curation whose counts can be compared with published ones.
PUBLISHED_STEPS = []
if DATA["source"] in ("census", "sctab"):
    PUBLISHED_STEPS = ["cells"] if STUDIES else ["cells", "types", "genes", "split", "new"]

# Training and validation cells of the paper at 1,500 genes a cell, for requests that are asked
# about before the stores are there.
WHOLE_CENSUS = DATA["source"] in ("census", "sctab") and not STUDIES
PAPER_BYTES = (15_240_192 + 3_500_032) * (
    8 + 1500 * NONZERO_BYTES["log1p_cp10k" if DATA["source"] == "sctab" else "counts"]
)

# GPUs of a job that runs a model, and of a fit. With SLURM (recognised by resources that a profile
# sets), every such job requests them; on one machine they are counted only if it has a GPU.
ON_SLURM = any(
    name.startswith("slurm_") for name in workflow.resource_settings.default_resources or {}
)
GPU = int(
    config["training"]["device"] != "cpu" and (ON_SLURM or shutil.which("nvidia-smi") is not None)
)
FIT_GPUS = GPU * config["training"]["devices"] * config["training"]["nodes"]
if ON_SLURM and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", max(FIT_GPUS, 1))  # the jobs of one group share these

# Shown in every figure and report, so that no data are mistaken for others.
NOTE = {
    "simulation": "Simulated data",
    "h5ad": f"Data: {DATA['name']}",
    "census": "A few small studies of the Census" if STUDIES else None,
    "sctab": None,
    "published": None,
}[DATA["source"]]


def given(*paths):
    """A param that changes with what the user's files hold, whatever their time stamps say.

    What the pipeline downloads is held to its checksum instead.
    """
    files = [path for some in paths for path in ([some] if isinstance(some, str) else some)]
    own = ("<", "resources/genes/", "resources/ontology/v")
    return contents_of(*(shipped(path) for path in files if not path.startswith(own)))


def any_of(names):
    """The regular expression that matches these names and nothing else."""
    return "|".join(map(re.escape, names)) or "none"


wildcard_constraints:
    release=any_of(RELEASES),
    shard=r"\d+",
    set=any_of(SETS),
    model=any_of([*config["models"], *PUBLISHED_NAMES]),
    loss=any_of(config["losses"]),
    seed=r"\d+",


def known_datasets(release):
    """The datasets of the releases whose studies are no new ones in a newer release."""
    earlier = [REFERENCE]
    if DATA["new_since"] == "previous":
        earlier = RELEASES[: RELEASES.index(release)]
    return expand("<data>/census/{release}/datasets.parquet", release=earlier)


def of_fits(pattern, fits=FITS):
    """Path of the pattern for every fit, or for every fit of a list."""
    return [
        path
        for model, loss, seed in fits
        for path in expand(pattern, model=model, loss=loss, seed=seed)
    ]


def model_spec(name):
    """An entry of `models`, with its class; without the hours, a change of which trains nothing."""
    entry = {key: value for key, value in config["models"][name].items() if key != "hours"}
    return {"class": name} | entry


def class_and_arguments(catalogue, name):
    """What an entry of models or losses is built of."""
    spec = {"class": name} | config[catalogue][name]
    return {key: spec[key] for key in ("class", "arguments")}


def own_reachability(loss):
    """The reachability that a control's loss takes, None for that of the run."""
    return config["losses"][loss]["reachability"]


def name_of_control(loss):
    """What controls.tsv calls the control that a loss is for."""
    out = config["losses"][loss]["left_out"]
    if not out:
        return own_reachability(loss)
    where = "as_many_as_below" if out["elsewhere"] else "below"
    return f"without_{where}_{out['below']}"


def loss_spec(wildcards):
    """Class and arguments of a loss; a different reachability is passed to the fit as a file."""
    return class_and_arguments("losses", wildcards.loss)


def local_soma(wildcards):
    """The SOMA written by stage sources, if the releases are not remote."""
    return "<data>/census/{release}/soma" if LOCAL_CENSUS else []


def pictures(titles):
    """The three files of each figure (name → title); the PNG is part of the report.

    The caption has the same name as the figure.
    """
    paths = {}
    for name, title in titles.items():
        for suffix in ("pdf", "svg", "png"):
            paths[f"{name}_{suffix}"] = f"<results>/figures/{name}.{suffix}"
        paths[f"{name}_png"] = report(
            paths[f"{name}_png"],
            caption=f"../report/{name}.rst",
            category="Figures",
            labels={"figure": title},
        )
    return paths


WORDS = caption_words(config, shipped("resources/ontology/cell_types_164.tsv"))


def words(*names):
    """Words that a caption needs, as a param; `snakemake.config` would know ids alone."""
    return {name: WORDS[name] for name in names}


def caption(name):
    """The caption of a figure, filled in; that data are simulated is said once on the page."""
    template = Path(workflow.source_path(f"../report/{name}.rst")).read_text(encoding="utf-8")
    return render_caption(template, config, WORDS | {"simulated": ""})


def growing(amount):
    """Memory or time of a job: the amount times the number of the attempt."""
    return lambda wildcards, attempt: attempt * amount


def stores_bytes(*stores):
    """Memory that the cells of stores take; of the whole Census, what they will take."""
    if WHOLE_CENSUS and not all(Path(store, MANIFEST).is_file() for store in stores):
        return PAPER_BYTES
    for store in stores:
        os.stat(store)  # Snakemake asks again where this fails: the store is not built yet
    return sum(bytes_in_memory(read_manifest(store)) for store in stores)
