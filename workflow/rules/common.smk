"""What several stages share: releases, sets, fits, and the data's honest name."""

import csv

DATA = config["data"]
REFERENCE = DATA["reference"]["release"]
NEW_RELEASES = [new["release"] for new in DATA["new"]]
RELEASES = [REFERENCE, *NEW_RELEASES]
URIS = {entry["release"]: entry["uri"] for entry in [DATA["reference"], *DATA["new"]]}
LOCAL_CENSUS = DATA["source"] != "census"

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

# Stands in every figure and report, so that nobody takes one for the other.
NOTE = {
    "simulation": "Simulated data",
    "h5ad": f"Data: {DATA['name']}",
    "census": None,
}[DATA["source"]]


wildcard_constraints:
    release="|".join(RELEASES),
    shard=r"\d+",
    set="|".join(SETS),
    model="|".join(config["models"]),
    loss="|".join(config["losses"]),
    seed=r"\d+",


def of_fits(pattern):
    """The pattern's path for every fit."""
    return [
        path
        for model, loss, seed in FITS
        for path in expand(pattern, model=model, loss=loss, seed=seed)
    ]


def pinned(value):
    """A name that is a path (it has a slash) and no address."""
    return Path(value).name != value and "://" not in value


def local_soma(wildcards):
    """The SOMA that stage sources writes, where the releases are not remote."""
    return "<data>/census/{release}/soma" if LOCAL_CENSUS else []


def manifest_files(wildcards):
    """The mapping tables and h5ads of the manifest, so that a change of one is noticed.

    Missing ones are left to the script, which says in one sentence what is wrong.
    """
    manifest = Path(DATA["h5ad"]["manifest"])
    if not manifest.is_file():
        return []
    with open(manifest, encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    files = [Path(DATA["h5ad"]["dir"]) / row.get("file", "") for row in rows]
    files += [manifest.parent / row.get("mapping", "") for row in rows]
    return sorted({str(file) for file in files if file.is_file()})


def figure(number):
    """The three files of a figure; the PNG goes to the report."""
    stem = f"<results>/figures/figure_{number}"
    return {
        "pdf": f"{stem}.pdf",
        "svg": f"{stem}.svg",
        "png": report(
            f"{stem}.png",
            caption=f"../report/figure_{number}.rst",
            category="Figures",
            labels={"figure": f"Figure {number}"},
        ),
    }


def make_report():
    """Snakemake's own report of a finished run, from the config that the run kept."""
    results = Path("results") / config["run"]
    if not all((results / name).is_file() for name in ("summary.md", "config.yaml")):
        return  # only single files were asked for
    command = [sys.executable, "-m", "snakemake", "--snakefile", workflow.main_snakefile]
    command += ["--configfile", str(results / "config.yaml"), "--nolock"]
    command += ["--report", str(results / "report.html")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        logger.error(f"The report could not be made:\n{done.stderr}")
