"""The list of the models' genes.

in:  data.genes of the config: a file, or the address of one
out: resources/genes/…
"""

if "://" in DATA["genes"]:
    GENE_LIST = f"resources/genes/{Path(DATA['genes']).name}"

    rule download_genes:
        output:
            GENE_LIST,
        log:
            "resources/genes/logs/download.log",
        retries: 2
        localrule: True  # compute nodes may have no network
        conda:
            ENVIRONMENT
        params:
            url=DATA["genes"],
            sha256=DATA["genes_sha256"],
        script:
            "../../scripts/download_file.py"

else:
    GENE_LIST = [] if DATA["genes"] == "all" else shipped(DATA["genes"])
