"""What several stages share: releases, sets, fits, and the data's honest name."""

import math
import os
import shutil

DATA = config["data"]
REFERENCE = DATA["reference"]["release"]
NEW_RELEASES = [new["release"] for new in DATA["new"]]
RELEASES = [REFERENCE, *NEW_RELEASES]
URIS = {entry["release"]: entry["uri"] for entry in [DATA["reference"], *DATA["new"]]}
LOCAL_CENSUS = DATA["source"] not in ("census", "sctab")
if "census_connections" not in workflow.global_resources:  # else --resources was given
    workflow.register_resource("census_connections", config["export"]["connections"])

# Which release the cells of each set come from.
OOD_SETS = {
    release: "ood" if release == NEW_RELEASES[0] else f"ood_{release}" for release in NEW_RELEASES
}
SETS = {name: REFERENCE for name in ("train", "val", "id")}
SETS |= {name: release for release, name in OOD_SETS.items()}
EVALUATION_SETS = [name for name in SETS if name != "train"]

FITS = [
    (model, loss, seed)
    for model in config["fits"]["models"]
    for loss in config["fits"]["losses"]
    for seed in config["fits"]["seeds"]
]
TRAINED = list(FITS)
# Published checkpoints: to all that follows, fits that were made elsewhere.
PUBLISHED = {(entry["name"], entry["loss"], entry["seed"]): entry for entry in config["published"]}
PUBLISHED_NAMES = list(dict.fromkeys(name for name, _, _ in PUBLISHED))
FITS += PUBLISHED

# A few studies only (config/pilot.yaml), or None; and where the cells of a release then are.
STUDIES = config["curation"]["studies"]
RELEASE_CELLS = (
    "<data>/cells/chosen/{release}.parquet" if STUDIES else "<data>/census/{release}/cells.parquet"
)
# Steps of the curation whose counts can be compared with the published ones.
PUBLISHED_STEPS = []
if DATA["source"] in ("census", "sctab"):
    PUBLISHED_STEPS = ["cells"] if STUDIES else ["cells", "types", "genes", "split", "new"]

# GPUs of a job that has a model on one, and of a fit. On SLURM, for which a profile gives resources
# of these names, every such job asks for them; one machine without a GPU has none to count.
ON_SLURM = any(
    name.startswith("slurm_") for name in workflow.resource_settings.default_resources or {}
)
GPU = int(
    config["training"]["device"] != "cpu" and (ON_SLURM or shutil.which("nvidia-smi") is not None)
)
FIT_GPUS = GPU * config["training"]["devices"] * config["training"]["nodes"]
if ON_SLURM and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", max(FIT_GPUS, 1))  # the jobs of one group share these

# Stands in every figure and report, so that nobody takes one for the other.
NOTE = {
    "simulation": "Simulated data",
    "h5ad": f"Data: {DATA['name']}",
    "census": "A few small studies of the Census" if STUDIES else None,
    "sctab": None,
}[DATA["source"]]


wildcard_constraints:
    release="|".join(RELEASES),
    shard=r"\d+",
    set="|".join(SETS),
    model="|".join([*config["models"], *PUBLISHED_NAMES]),
    loss="|".join(config["losses"]),
    seed=r"\d+",


def of_fits(pattern, fits=FITS):
    """The pattern's path for every fit, or for those of a list."""
    return [
        path
        for model, loss, seed in fits
        for path in expand(pattern, model=model, loss=loss, seed=seed)
    ]


def model_spec(name):
    """An entry of the catalogue of models, with its class."""
    return {"class": name} | config["models"][name]


def loss_spec(wildcards):
    """Class and arguments of a loss; another reachability reaches the fit as a file."""
    spec = {"class": wildcards.loss} | config["losses"][wildcards.loss]
    return {key: spec[key] for key in ("class", "arguments")}


def local_soma(wildcards):
    """The SOMA that stage sources writes, where the releases are not remote."""
    return "<data>/census/{release}/soma" if LOCAL_CENSUS else []


def pictures(titles):
    """The three files of each figure, given name → title; the PNG goes to the report.

    The caption of a figure is named as its files are.
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


def growing(amount):
    """A job's memory or time, as much again with each attempt."""
    return lambda wildcards, attempt: attempt * amount


def stores_mb(*stores):
    """Memory for cells held as counts, measured as up to three times their size on disk."""
    for store in stores:
        os.stat(store)  # Snakemake asks again where this fails: the store is not built yet
    files = [file for store in stores for file in Path(store).iterdir()]
    return 3000 + math.ceil(3 * sum(file.stat().st_size for file in files) / 1e6)
