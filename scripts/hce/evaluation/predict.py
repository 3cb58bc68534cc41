"""Applying a trained model to the cells of a store."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from hce.batches.on_disk import StreamedBatches
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
    decoders = [decoder.to(device) for decoder in decoders]
    cells = store.cells()
    labels = cells["label"].to_numpy()
    batches = StreamedBatches(store, labels, batch_size, device, sparse=takes_sparse(trained.model))
    # All stays on the device until the end, so that a GPU is not waited for.
    columns: dict[str, list[Tensor]] = {}
    lost = torch.zeros((), dtype=torch.int64, device=device)
    for expression, _ in batches.in_order():
        probabilities = trained.probabilities(expression)
        lost += probabilities.isnan().any(dim=1).sum()
        for decoder in decoders:
            for name, values in _read_out(decoder, probabilities, reachability).items():
                columns.setdefault(f"{name}_{decoder.name}", []).append(values)
    if lost:
        raise _diverged(trained, int(lost), store)
    result = {"soma_joinid": cells["soma_joinid"].to_numpy(), "label": labels.astype(np.int16)}
    for name, parts in columns.items():
        result[name] = torch.cat(parts).cpu().numpy()
    return pd.DataFrame(result)


def _read_out(decoder: Decoder, probabilities: Tensor, reachability: Tensor) -> dict[str, Tensor]:
    """The type of each cell and its three probabilities, see `predict`."""
    prediction, _ = decode(decoder, probabilities, reachability)
    posterior = decoder.posterior(probabilities)
    chances = {
        "probability": posterior,
        "s": below(posterior, reachability),
        "credited": above(posterior, reachability),
    }
    found = {"prediction": prediction.to(torch.int16)}
    for name, values in chances.items():
        found[name] = values.gather(1, prediction[:, None]).squeeze(1).float()
    return found


def _diverged(trained: TrainedModel, cells: int, store: CellStore) -> UserError:
    spec = trained.provenance
    names = [str(spec.get(key, {}).get("class", "?")) for key in ("model", "loss")]
    return UserError(
        f"Fit {'/'.join(names)}/{spec.get('seed', '?')} gives no probabilities (NaN) for {cells:,} "
        f"cells of {store.path}: it diverged; lower its learning rate in the config and "
        "fit it again."
    )
