"""Stage originals: the files of studies that `data.h5ad.dir` does not hold, from public originals.

in:  the addresses of data.h5ad.originals
out: <data.h5ad.dir>/<study>.h5ad
"""

from hce.inputs.manifests import missing_studies, read_originals

# Study → name of each part → its address; only of studies whose file is not there.
ORIGINALS = read_originals(shipped(DATA["h5ad"]["originals"]))
ORIGINALS = {
    study: parts
    for study, parts in ORIGINALS.items()
    if study in missing_studies(H5AD_MANIFEST, DATA["h5ad"]["dir"])
}
H5AD_MADE = [f"{DATA['h5ad']['dir']}/{study}.h5ad" for study in ORIGINALS]

if ORIGINALS:

    rule download_original:
        output:
            f"{DATA['h5ad']['dir']}/originals/{{study}}/{{number}}",
        log:
            "<data>/logs/download_original_{study}_{number}.log",
        wildcard_constraints:
            study=any_of(ORIGINALS),
            number=r"\d+",
        retries: 2
        localrule: True  # compute nodes may have no network
        conda:
            ENVIRONMENT
        params:
            url=lambda wildcards: list(ORIGINALS[wildcards.study].values())[int(wildcards.number)],
            sha256=None,
        script:
            "../../scripts/download_file.py"

    rule build_original:
        input:
            lambda wildcards: [
                f"{DATA['h5ad']['dir']}/originals/{wildcards.study}/{number}"
                for number in range(len(ORIGINALS[wildcards.study]))
            ],
        output:
            f"{DATA['h5ad']['dir']}/{{study}}.h5ad",
        log:
            "<data>/logs/build_original_{study}.log",
        benchmark:
            "<data>/benchmarks/build_original_{study}.jsonl"
        wildcard_constraints:
            study=any_of(ORIGINALS),
        localrule: True  # as its downloads
        conda:
            ENVIRONMENT
        params:
            parts=lambda wildcards: list(ORIGINALS[wildcards.study]),
        script:
            "../../scripts/build_original.py"
