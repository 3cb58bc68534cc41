"""Takes the weight from types that a control trains without (rule make_control_types)."""

from pathlib import Path
from typing import Any

from hce.errors import UserError
from hce.files import atomic_path, read_parquet
from hce.jobs.job import job
from hce.ontology import Hierarchy
from hce.ontology.controls import left_out_types

snakemake: Any

with job(snakemake) as log:
    hierarchy = Hierarchy.load(Path(snakemake.input.hierarchy).parent)
    types = read_parquet(snakemake.input.types)
    below, elsewhere = (snakemake.params.left_out[key] for key in ("below", "elsewhere"))
    ids = hierarchy.types["cl_id"].tolist()
    if below not in ids:
        raise UserError(
            f"Config key losses.{snakemake.wildcards.loss}.left_out.below is {below}, which is not "
            "a type of this run."
        )
    chosen = left_out_types(
        hierarchy.reachability, types["train_cells"].to_numpy(), ids.index(below), elsewhere
    )
    types.loc[chosen, "class_weight"] = 0.0
    log.info(
        "%d types with %d training cells have no weight",
        chosen.sum(),
        types["train_cells"][chosen].sum(),
    )
    with atomic_path(snakemake.output[0]) as temporary:
        types.to_parquet(temporary, index=False)
