"""Applying a trained model to the cells of a store."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from hce.decoding import decode
from hce.errors import UserError
from hce.loader import Batches
from hce.model_file import TrainedModel
from hce.store import CellStore


@torch.no_grad()
def predict(
    trained: TrainedModel,
    store: CellStore,
    decoders: Sequence[str],
    batch_size: int,
    device: torch.device,
) -> pd.DataFrame:
    """Predicts every cell of a store, in its order, streaming.

    Args:
        trained: the model; moved to the device with its loss.
        store: cells over the model's genes.
        decoders: how probabilities become a type, see `decoding.DECODERS`.
        batch_size: cells at a time.
        device: where the model runs.

    Returns:
        soma_joinid (int64), label (int16), and for each decoder prediction_<decoder> (int16) and
        probability_<decoder> (float32).

    Raises:
        UserError: the store has other genes than the model.
    """
    if store.genes["feature_id"].tolist() != trained.genes["feature_id"].tolist():
        raise UserError(
            f"{store.path} holds other genes than the model was trained on: train it again on "
            "this data, or predict cells of its own."
        )
    trained.to(device)
    reachability = torch.from_numpy(trained.reachability).to(device)
    cells = store.cells()
    labels = cells["label"].to_numpy()
    columns: dict[str, list[np.ndarray]] = {}
    start = 0
    for counts in store.blocks():
        block = labels[start : start + len(counts)]
        batches = Batches(counts, block, len(trained.genes), batch_size, device)
        for expression, _ in batches.in_order():
            probabilities = trained.probabilities(expression)
            for decoder in decoders:
                prediction, score = decode(decoder, probabilities, reachability)
                found = columns.setdefault(f"prediction_{decoder}", [])
                found.append(prediction.cpu().numpy().astype(np.int16))
                found = columns.setdefault(f"probability_{decoder}", [])
                found.append(score.float().cpu().numpy())
        start += len(counts)
    result = {"soma_joinid": cells["soma_joinid"].to_numpy(), "label": labels.astype(np.int16)}
    for name, parts in columns.items():
        result[name] = np.concatenate(parts)
    return pd.DataFrame(result)
