"""Stage ontology: the Cell Ontology release.

in:  nothing, or a local file
out: resources/ontology/<release>/<file>, for any number of releases side by side
"""

ONTOLOGY = (
    shipped(config["ontology"]["file"])
    if is_local(config["ontology"]["file"])
    else f"resources/ontology/{config['ontology']['release']}/{config['ontology']['file']}"
)


rule download_ontology:
    output:
        "resources/ontology/{tag}/{file}",
    log:
        "resources/ontology/logs/{tag}_{file}.log",
    wildcard_constraints:
        tag=r"v\d{4}-\d{2}-\d{2}",
        file=r"[^/]+\.obo(\.gz)?",
    retries: 2
    localrule: True  # compute nodes may have no network
    conda:
        ENVIRONMENT
    params:
        url=f"{config['ontology']['base_url'].rstrip('/')}/{{tag}}/{{file}}",
        # The checksum of the config is that of its release; for others the recorded one is used.
        sha256=lambda wildcards, output: (
            config["ontology"]["sha256"] if output[0] == ONTOLOGY else None
        ),
    script:
        "../../scripts/download_file.py"
