"""Predicts the cells of every evaluation set with one model (rule predict)."""

from typing import Any

from hce.config import named_classes
from hce.decoding import Decoder
from hce.evaluation.predict import predict
from hce.files import atomic_path, read_parquet
from hce.jobs.job import job
from hce.models.trained_model import load_model
from hce.store.cell_store import CellStore
from hce.training.device import prepare_device

snakemake: Any

with job(snakemake) as log:
    # Whatever fits are trained in; as the published predictions.
    device = prepare_device(snakemake.config["training"]["device"], snakemake.threads, "fp32")
    trained = load_model(snakemake.input.model, named_classes(snakemake.config))
    weights = read_parquet(snakemake.input.types)["class_weight"].to_numpy()
    decoders = [
        Decoder.named(name, weights, trained.mean_reachability)
        for name in snakemake.params.decoders
    ]
    for folder, path in zip(snakemake.input.stores, snakemake.output, strict=True):
        table = predict(
            trained,
            CellStore.open(folder),
            decoders,
            snakemake.params.batch_size,
            device,
        )
        # The bytes of probabilities are stored by their place, which takes a third less.
        probabilities = table.columns[table.dtypes == "float32"].tolist()
        with atomic_path(path) as temporary:
            table.to_parquet(
                temporary,
                index=False,
                compression="zstd",
                use_byte_stream_split=probabilities,
                use_dictionary=[name for name in table if name not in probabilities],
            )
        log.info("%s: %d cells", path, len(table))
