"""Stage figures: tables to pictures.

in:  <results>/tables/*.tsv
out: <results>/figures/figure_<n>.{pdf,png,svg}
"""


rule plot_figure_1:
    input:
        overall="<results>/tables/overall.tsv",
        data_totals="<results>/tables/data_totals.tsv",
        data_tissues="<results>/tables/data_tissues.tsv",
        data_types="<results>/tables/data_types.tsv",
    output:
        **figure(1),
    log:
        "<results>/logs/plot_figure_1.log",
    params:
        note=NOTE,
    script:
        "../../scripts/plot_figure_1.py"


rule plot_figure_2:
    input:
        overall="<results>/tables/overall.tsv",
        type_changes="<results>/tables/type_changes.tsv",
        confusion="<results>/tables/confusion.tsv",
        data_types="<results>/tables/data_types.tsv",
    output:
        **figure(2),
    log:
        "<results>/logs/plot_figure_2.log",
    params:
        model=config["figures"]["model"],
        subgraph=config["figures"]["subgraph"],
        note=NOTE,
    script:
        "../../scripts/plot_figure_2.py"
