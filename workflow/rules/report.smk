"""Stage report: the page of the run, its summary, the explorer, and provenance.

in:  <results>/tables/*.tsv, <data>/cells/report.tsv, <data>/audit/summary.tsv, benchmarks, logs
out: <results>/index.html, <results>/summary.md, <results>/explorer.html, <results>/provenance.{json,md},
     <results>/config.yaml, and after the run <results>/report.html
"""


report: "../report/workflow.rst"


# Figure → title, in the order of the page.
FIGURE_TITLES = {"figure_1": "Figure 1", "figure_2": "Figure 2"} | SUPPLEMENTS | DIAGNOSTICS
FIGURE_TITLES |= {"coverage": "Back-off", "leakage": "Leakage"}
if TRUTH:
    FIGURE_TITLES["truth"] = "Scores and the truth"


rule write_index:
    input:
        overall="<results>/tables/overall.tsv",
        data_totals="<results>/tables/data_totals.tsv",
        bootstrap="<results>/tables/bootstrap.tsv",
        decomposition="<results>/tables/decomposition.tsv",
        calibrated_precision="<results>/tables/calibrated_precision.tsv",
        factorial="<results>/tables/factorial.tsv",
        type_changes="<results>/tables/type_changes.tsv",
        per_stratum="<results>/tables/per_stratum.tsv",
        data_types="<results>/tables/data_types.tsv",
        audit_studies="<data>/audit/studies.tsv",
        figures=expand("<results>/figures/{name}.png", name=FIGURE_TITLES),
    output:
        "<results>/index.html",
    log:
        "<results>/logs/write_index.log",
    benchmark:
        "<results>/benchmarks/write_index.jsonl"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        figures=[
            {"name": name, "title": title, "caption": caption(name)}
            for name, title in FIGURE_TITLES.items()
        ],
        run=config["run"],
        note=NOTE,
        model=config["figures"]["model"],
        alpha=config["statistics"]["alpha"],
    script:
        "../../scripts/write_index.py"


rule write_summary:
    input:
        overall="<results>/tables/overall.tsv",
        type_changes="<results>/tables/type_changes.tsv",
        stratum_changes="<results>/tables/stratum_changes.tsv",
        data_totals="<results>/tables/data_totals.tsv",
        factorial="<results>/tables/factorial.tsv",
        calibrated_precision="<results>/tables/calibrated_precision.tsv",
        bootstrap="<results>/tables/bootstrap.tsv",
        decomposition="<results>/tables/decomposition.tsv",
        controls="<results>/tables/controls.tsv",
        report="<data>/cells/report.tsv",
        published=shipped("resources/published.tsv"),
        audit="<data>/audit/summary.tsv",
        augmentation=("<data>/augmentation/report.tsv" if AUGMENTS else []),
        published_results=("<results>/tables/published_results.tsv" if RESULTS else []),
    output:
        report(
            "<results>/summary.md",
            caption="../report/summary.rst",
            category="Summary",
            labels={"table": "Headline, scores and tests"},
        ),
    log:
        "<results>/logs/write_summary.log",
    benchmark:
        "<results>/benchmarks/write_summary.jsonl"
    conda:
        ENVIRONMENT
    params:
        run=config["run"],
        note=NOTE,
        fits=[list(fit) for fit in FITS],
        alpha=config["statistics"]["alpha"],
        model=config["figures"]["model"],
        given=given("resources/published.tsv"),
    script:
        "../../scripts/write_summary.py"


rule make_explorer:
    input:
        overall="<results>/tables/overall.tsv",
        bootstrap="<results>/tables/bootstrap.tsv",
        per_type="<results>/tables/per_type.tsv",
        type_changes="<results>/tables/type_changes.tsv",
        confusion="<results>/tables/confusion.tsv",
        per_stratum="<results>/tables/per_stratum.tsv",
        stratum_changes="<results>/tables/stratum_changes.tsv",
        data_types="<results>/tables/data_types.tsv",
        type_genes="<results>/tables/type_genes.tsv",
        hierarchy="<data>/ontology/hierarchy.parquet",
        ontology=ONTOLOGY,
        abbreviations=shipped("resources/ontology/abbreviations.tsv"),
        cells=expand("<data>/cells/{release}.parquet", release=RELEASES),
        datasets=expand("<data>/census/{release}/datasets.parquet", release=RELEASES),
    output:
        "<results>/explorer.html",
    log:
        "<results>/logs/make_explorer.log",
    benchmark:
        "<results>/benchmarks/make_explorer.jsonl"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        run=config["run"],
        note=NOTE,
        alpha=config["statistics"]["alpha"],
    script:
        "../../scripts/make_explorer.py"


rule checksum_inputs:
    input:
        # Data from a Census or the published scTab store are recorded in the manifests of the stores.
        ontology=ONTOLOGY,
        genes=GENE_LIST,
        types=(
            shipped("resources/ontology/cell_types_164.tsv")
            if DATA["source"] == "simulation"
            else EXPECTED_TYPES
        ),
        manifest=H5AD_MANIFEST,
        h5ad=[*H5AD_FILES, *H5AD_MADE],
        published=shipped("resources/published.tsv"),
    output:
        "<data>/inputs.tsv",
    log:
        "<data>/logs/checksum_inputs.log",
    benchmark:
        "<data>/benchmarks/checksum_inputs.jsonl"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=growing(1000),
        runtime=growing(240),
    params:
        given=given(
            ONTOLOGY,
            GENE_LIST,
            "resources/ontology/cell_types_164.tsv",
            EXPECTED_TYPES,
            H5AD_MANIFEST,
            H5AD_FILES,
            "resources/published.tsv",
        ),
    script:
        "../../scripts/checksum_inputs.py"


rule write_provenance:
    input:
        # Runs last, so that the time and memory of every job are known.
        results=lambda wildcards: [
            path for path in rules.all.input if Path(path).stem != "provenance"
        ],
        config="<results>/config.yaml",
        checksums="<data>/inputs.tsv",
        releases=expand("<data>/census/{release}/release.json", release=RELEASES),
        stores=expand("<data>/store/{set}", set=SETS),
        models=[
            *of_fits("<results>/fits/{model}/{loss}/{seed}/model.pt"),
            *expand(
                "<results>/fits/{model}/{loss}/{seed}/model.pt",
                model=CONTROLS["models"],
                loss=CONTROLS["losses"],
                seed=CONTROLS["seeds"],
            ),
        ],
        checkpoints=[entry["path"] for entry in config["published"] if entry["path"]],
    output:
        json="<results>/provenance.json",
        words=report(
            "<results>/provenance.md",
            caption="../report/provenance.rst",
            category="Provenance",
            labels={"table": "Code, inputs, time and memory"},
        ),
    log:
        "<results>/logs/write_provenance.log",
    conda:
        ENVIRONMENT
    params:
        run=config["run"],
        note=NOTE,
        stages=lambda wildcards: {
            rule.name: Path(rule.snakefile).stem for rule in workflow.rules if rule.name != "all"
        },
    script:
        "../../scripts/write_provenance.py"


rule write_config:
    output:
        "<results>/config.yaml",
    log:
        "<results>/logs/write_config.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        config=config,
    script:
        "../../scripts/write_config.py"
