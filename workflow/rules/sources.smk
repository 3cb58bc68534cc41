"""Stage sources: writes a simulation or h5ad files as SOMA in the format of the Census.

in:  the settings of the simulation, or the h5ad files of a manifest
out: <data>/census/<release>/soma, a SOMA that the Census client opens; for a simulation also
     <data>/census/<release>/truth.parquet, the finest types of its cells, which only stage truth reads
"""

from hce.inputs.manifests import files_of_manifest

H5AD_MANIFEST, H5AD_FILES, H5AD_MADE = [], [], []
if DATA["source"] == "h5ad":
    H5AD_MANIFEST = shipped(DATA["h5ad"]["manifest"])
    H5AD_FILES = files_of_manifest(H5AD_MANIFEST, DATA["h5ad"]["dir"])
    if DATA["h5ad"]["originals"]:

        include: "originals.smk"


# What was made of downloads is held to their checksums instead.
H5AD_GIVEN = [
    file
    for file in H5AD_FILES
    if not Path(file).parent.joinpath("originals", Path(file).stem).is_dir()
]


if DATA["source"] == "simulation":

    rule simulate_census:
        input:
            ontology=shipped("resources/ontology/cl-slim.obo"),
            types=shipped("resources/ontology/cell_types_164.tsv"),
        output:
            soma=directory("<data>/census/{release}/soma"),
            truth="<data>/census/{release}/truth.parquet",
        log:
            "<data>/logs/simulate_census_{release}.log",
        benchmark:
            "<data>/benchmarks/simulate_census_{release}.jsonl"
        conda:
            ENVIRONMENT
        resources:
            mem_mb=growing(2000),
            runtime=growing(30),
        params:
            settings=DATA["simulation"],
            reference=REFERENCE,
            new=NEW_RELEASES,
            given=given("resources/ontology/cl-slim.obo", "resources/ontology/cell_types_164.tsv"),
        script:
            "../../scripts/simulate_census.py"


if DATA["source"] == "h5ad":

    rule build_h5ad_census:
        input:
            ontology=ONTOLOGY,
            manifest=H5AD_MANIFEST,
            files=[*H5AD_FILES, *H5AD_MADE],
        output:
            soma=directory("<data>/census/{release}/soma"),
            report="<data>/cells/report/files_{release}.tsv",
        log:
            "<data>/logs/build_h5ad_census_{release}.log",
        benchmark:
            "<data>/benchmarks/build_h5ad_census_{release}.jsonl"
        conda:
            ENVIRONMENT
        resources:
            mem_mb=growing(4000),
            runtime=growing(120),
        params:
            sha256=config["ontology"]["sha256"],
            dir=DATA["h5ad"]["dir"],
            releases=RELEASES,
            new_study=DATA["h5ad"]["new_study"],
            given=given(ONTOLOGY, H5AD_MANIFEST, H5AD_GIVEN),
        script:
            "../../scripts/build_h5ad_census.py"
