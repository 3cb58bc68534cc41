"""Stage controls: fits by another reachability or without some types, losses at matched epochs.

in:  <data>/ontology/…, other ontologies, <data>/cells/vocabularies/…, <results>/scores/…,
     <results>/tables/history.tsv
out: <results>/controls/<loss>/{reachability.npy,types.parquet},
     <results>/controls/permuted_vocabularies/<release>.npz,
     <results>/tables/{controls,connectivity}.tsv
"""

CONTROLS = config["controls"]
# Controls that train without the cells of some types.
LEFT_OUT = {
    loss: config["losses"][loss]["left_out"]
    for loss in CONTROLS["losses"]
    if config["losses"][loss]["left_out"]
}
CONNECTIVITY = ["<results>/tables/connectivity.tsv"] if LEFT_OUT else []


rule make_control_reachability:
    input:
        hierarchy="<data>/ontology/hierarchy.parquet",
        reachability="<data>/ontology/reachability.npz",
        ontology=lambda wildcards: (
            []
            if config["losses"][wildcards.loss]["reachability"] == "placebo"
            else f"resources/ontology/{config['losses'][wildcards.loss]['reachability']}"
        ),
    output:
        "<results>/controls/{loss}/reachability.npy",
    log:
        "<results>/logs/make_control_reachability/{loss}.log",
    benchmark:
        "<results>/benchmarks/make_control_reachability/{loss}.jsonl"
    conda:
        ENVIRONMENT
    script:
        "../../scripts/make_control_reachability.py"


rule permute_vocabularies:
    input:
        vocabularies="<data>/cells/vocabularies/{release}.tsv",
        ontology=ONTOLOGY,
        hierarchy="<data>/ontology/hierarchy.parquet",
        reachability="<data>/ontology/reachability.npz",
    output:
        "<results>/controls/permuted_vocabularies/{release}.npz",
    log:
        "<results>/logs/permute_vocabularies/{release}.log",
    benchmark:
        "<results>/benchmarks/permute_vocabularies/{release}.jsonl"
    conda:
        ENVIRONMENT
    params:
        sha256=config["ontology"]["sha256"],
        min_cells=config["vocabulary"]["min_cells"],
    script:
        "../../scripts/permute_vocabularies.py"


rule make_control_types:
    input:
        types="<data>/cells/types.parquet",
        hierarchy="<data>/ontology/hierarchy.parquet",
        reachability="<data>/ontology/reachability.npz",
    output:
        "<results>/controls/{loss}/types.parquet",
    log:
        "<results>/logs/make_control_types/{loss}.log",
    benchmark:
        "<results>/benchmarks/make_control_types/{loss}.jsonl"
    conda:
        ENVIRONMENT
    params:
        left_out=lambda wildcards: config["losses"][wildcards.loss]["left_out"],
    script:
        "../../scripts/make_control_types.py"


rule compare_connectivity:
    input:
        per_type="<results>/tables/per_type.tsv",
        controls=expand(
            "<results>/scores/{model}/{loss}/{seed}/per_type.tsv",
            model=CONTROLS["models"],
            loss=LEFT_OUT,
            seed=CONTROLS["seeds"],
        ),
    output:
        "<results>/tables/connectivity.tsv",
    log:
        "<results>/logs/compare_connectivity.log",
    benchmark:
        "<results>/benchmarks/compare_connectivity.jsonl"
    conda:
        ENVIRONMENT
    params:
        left_out={
            loss: (class_and_arguments("losses", loss)["class"], out["below"], out["elsewhere"])
            for loss, out in LEFT_OUT.items()
        },
        baseline=config["statistics"]["baseline"],
        compared=config["statistics"]["compared"],
    script:
        "../../scripts/compare_connectivity.py"


rule gather_controls:
    input:
        scores=expand(
            "<results>/scores/{model}/{loss}/{seed}/overall.tsv",
            model=CONTROLS["models"],
            loss=CONTROLS["losses"],
            seed=CONTROLS["seeds"],
        ),
        history="<results>/tables/history.tsv" if CONTROLS["matched_epochs"] else [],
    output:
        "<results>/tables/controls.tsv",
    log:
        "<results>/logs/gather_controls.log",
    benchmark:
        "<results>/benchmarks/gather_controls.jsonl"
    conda:
        ENVIRONMENT
    params:
        controls={loss: name_of_control(loss) for loss in CONTROLS["losses"]},
        baseline=config["statistics"]["baseline"],
        compared=config["statistics"]["compared"],
    script:
        "../../scripts/gather_controls.py"
