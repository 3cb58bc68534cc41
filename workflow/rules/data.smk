"""The data of a run as a whole: made apart from it, or taken as somebody else has made them.

in:  everything in <data> that later stages read
out: <data>/ready.json: what the folder holds and what it is made of
"""

from snakemake.io import flag

from hce.jobs.shared_data import check_ready

# What `make data` makes: all that may need a network, and what follows from it without a GPU.
DATA_FILES = [
    *expand("<data>/store/{set}", set=SETS),
    *OPEN_STORES,
    *expand("<data>/cells/{release}.parquet", release=RELEASES),
    *expand("<data>/census/{release}/datasets.parquet", release=RELEASES),
    *expand("<data>/census/{release}/release.json", release=RELEASES),
    *expand("<data>/audit/{set}.parquet", set=OOD_SETS.values()),
    *expand("<data>/audit/{name}.tsv", name=AUDITS),
    "<data>/cells/types.parquet",
    "<data>/terms/terms.npz",
    "<data>/terms/log_shares.npy",
    *expand("<data>/terms/targets_{release}.npz", release=RELEASES),
    *expand("<data>/cells/targets/{release}.npz", release=RELEASES),
    "<data>/cells/report.tsv",
    "<data>/inputs.tsv",
    *AGREEMENTS,
]
DOWNLOADS = [
    f"resources/ontology/{own_reachability(loss)}"
    for loss in CONTROLS["losses"]
    if own_reachability(loss) not in (None, "placebo", "permuted_vocabularies")
]
DOWNLOADS += [
    f"<results>/fits/{entry['name']}/{entry['loss']}/{entry['seed']}/published.ckpt"
    for entry in PUBLISHED.values()
    if entry["url"]
]
DOWNLOADS += [
    f"<results>/published/{entry['name']}/{entry['loss']}/{entry['seed']}.parquet"
    for entry in RESULTS.values()
    if entry["url"]
]


rule finish_data:
    input:
        stores=[*expand("<data>/store/{set}", set=SETS), *OPEN_STORES],
        others=DATA_FILES,
        augmentation="<data>/augmentation/vectors.npy" if AUGMENTS else [],
    output:
        "<data>/ready.json",
    log:
        "<data>/logs/finish_data.log",
    benchmark:
        "<data>/benchmarks/finish_data.jsonl"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000),
        runtime=growing(240),
    script:
        "../../scripts/finish_data.py"


DATA_FOLDER = f"{DATA['dir']}/{DATA['name']}"
if DATA["ready"]:
    try:
        if workflow.is_main_process:  # and not in every job
            check_ready(DATA_FOLDER, config)
    except UserError as error:
        raise WorkflowError(str(error))
    # Without the rules that would make them, files are taken as they are, whatever their times.
    for each in workflow.rules:
        for path in each.input:
            if str(path).startswith(f"{DATA_FOLDER}/"):
                path._file = flag(path._file, "ancient")
    for each in list(workflow.rules):
        if each.output and all(str(path).startswith(f"{DATA_FOLDER}/") for path in each.output):
            del workflow._rules[each.name]
