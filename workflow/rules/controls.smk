"""Stage controls: fits whose loss uses another reachability, and losses at matched epochs.

in:  <data>/ontology/…, other ontologies, <data>/cells/vocabularies/…, <results>/scores/…,
     <results>/tables/history.tsv
out: <results>/controls/<loss>/reachability.npy,
     <results>/controls/permuted_vocabularies/<release>.npz, <results>/tables/controls.tsv
"""

CONTROLS = config["controls"]


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
        controls={loss: config["losses"][loss]["reachability"] for loss in CONTROLS["losses"]},
        baseline=config["statistics"]["baseline"],
        compared=config["statistics"]["compared"],
    script:
        "../../scripts/gather_controls.py"
