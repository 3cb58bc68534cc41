"""Stage augmentation: vectors that shift training cells from one donor towards another.

in:  <data>/store/train, or published vectors
out: <data>/augmentation/{vectors.npy,report.tsv}
"""

AUGMENTED = [name for name, model in config["models"].items() if model["augmentation"]]
# Whether a fit of this run trains on augmented cells.
AUGMENTS = bool(set(AUGMENTED) & set(config["fits"]["models"]))


rule make_augmentation:
    input:
        train="<data>/store/train",
        # Vectors from the config or the published scTab store; otherwise they are computed.
        published=(
            config["augmentation"]["published"] or ("<data>/augmentations.npy" if SCTAB else [])
        ),
    output:
        vectors="<data>/augmentation/vectors.npy",
        report="<data>/augmentation/report.tsv",
    log:
        "<data>/logs/make_augmentation.log",
    benchmark:
        "<data>/benchmarks/make_augmentation.jsonl"
    conda:
        ENVIRONMENT
    resources:
        # The drawn cells as counts, twice while they are concatenated, and the vectors.
        mem_mb=lambda wildcards, input, attempt: attempt
        * min(16000, 3000 + 2 * stores_bytes(input.train) // 10**6),
        runtime=growing(240),
    params:
        spec={key: value for key, value in config["augmentation"].items() if key != "published"},
        given=given(config["augmentation"]["published"] or []),
    script:
        "../../scripts/make_augmentation.py"
