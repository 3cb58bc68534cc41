"""Stage ontology: the Cell Ontology release.

in:  nothing, or a local file
out: resources/ontology/<release>/<file>
"""

ONTOLOGY = (
    config["ontology"]["file"]
    if pinned(config["ontology"]["file"])
    else f"resources/ontology/{config['ontology']['release']}/{config['ontology']['file']}"
)


rule download_ontology:
    output:
        "resources/ontology/{tag}/{file}",
    log:
        "resources/ontology/logs/{tag}_{file}.log",
    wildcard_constraints:
        tag=r"v\d{4}-\d{2}-\d{2}",
        file=r"[^/]+\.obo",
    retries: 2
    params:
        url="https://github.com/obophenotype/cell-ontology/releases/download/{tag}/{file}",
        sha256=config["ontology"]["sha256"],
    script:
        "../../scripts/download_file.py"
