"""Applying a trained model to the cells of a store."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from hce.batches.in_memory import Batches
from hce.decoding import Decoder, above, below, decode
from hce.errors import UserError
from hce.models import takes_sparse
from hce.models.trained_model import TrainedModel
from hce.store.cell_store import CellStore


@torch.no_grad()
def predict(
    trained: TrainedModel,
    store: CellStore,
    decoders: Sequence[Decoder],
    batch_size: int,
    device: torch.device,
) -> pd.DataFrame:
    """Predicts every cell of a store, in its order, streaming.

    Args:
        trained: the model; moved to the device with its loss.
        store: cells over the model's genes.
        decoders: how probabilities become a type.
        batch_size: cells at a time.
        device: where the model runs.

    Returns:
        soma_joinid (int64), label (int16), and for each decoder prediction_<decoder> (int16) and
        three probabilities (float32) by the decoder's posterior: probability_<decoder> that the
        label is the prediction, s_<decoder> that it is the prediction or a descendant, and
        credited_<decoder> that it is the prediction or an ancestor.

    Raises:
        UserError: the store has other genes than the model, or the model's probabilities are NaN.
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
        batches = Batches(
            counts,
            block,
            len(trained.genes),
            batch_size,
            device,
            sparse=takes_sparse(trained.model),
        )
        for expression, _ in batches.in_order():
            probabilities = trained.probabilities(expression)
            if lost := int(probabilities.isnan().any(dim=1).sum()):
                raise _diverged(trained, lost, store)
            for decoder in decoders:
                for name, values in _read_out(decoder, probabilities, reachability).items():
                    columns.setdefault(f"{name}_{decoder.name}", []).append(values)
        start += len(counts)
    result = {"soma_joinid": cells["soma_joinid"].to_numpy(), "label": labels.astype(np.int16)}
    for name, parts in columns.items():
        result[name] = np.concatenate(parts)
    return pd.DataFrame(result)


def _read_out(
    decoder: Decoder, probabilities: Tensor, reachability: Tensor
) -> dict[str, np.ndarray]:
    """The type of each cell and its three probabilities, see `predict`."""
    prediction, _ = decode(decoder, probabilities, reachability)
    posterior = decoder.posterior(probabilities)
    chances = {
        "probability": posterior,
        "s": below(posterior, reachability),
        "credited": above(posterior, reachability),
    }
    found = {"prediction": prediction.cpu().numpy().astype(np.int16)}
    for name, values in chances.items():
        chosen = values.gather(1, prediction[:, None]).squeeze(1)
        found[name] = chosen.float().cpu().numpy()
    return found


def _diverged(trained: TrainedModel, cells: int, store: CellStore) -> UserError:
    spec = trained.provenance
    names = [str(spec.get(key, {}).get("class", "?")) for key in ("model", "loss")]
    return UserError(
        f"Fit {'/'.join(names)}/{spec.get('seed', '?')} gives no probabilities (NaN) for {cells:,} "
        f"cells of a batch of {store.path}: it diverged; lower its learning rate in the config and "
        "fit it again."
    )
