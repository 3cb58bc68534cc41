"""Which genes speak for and against a type in a linear model."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hce.models.linear import Linear
from hce.models.trained_model import TrainedModel

# Genes that are named for a type, in either direction.
NAMED = 8
COLUMNS = ["model", "loss", "index", "cl_id", "label", "direction", "rank", "gene", "weight"]


def gene_weights(trained: TrainedModel) -> np.ndarray | None:
    """The weights of a linear model; float64 (types, genes), None for any other model.

    Softmax does not change if the same is added to the logits of all types. The mean over the types
    is therefore subtracted from the weights of each gene.
    """
    if not isinstance(trained.model, Linear):
        return None
    weights = trained.model.weight.detach().cpu().numpy().astype(np.float64)
    return weights - weights.mean(axis=0)


def type_genes(fits: Mapping[tuple[str, str], Sequence[TrainedModel]]) -> pd.DataFrame:
    """The genes with the largest and the smallest weights for each type.

    Args:
        fits: (model, loss) → its fits, one per seed, on the same genes and types.

    Returns:
        `COLUMNS`: direction is `for` or `against`, rank counts from 1, weight is the change of the
        type's logit, relative to the mean over types, per unit of log-expression; mean over seeds.
        Models that are not linear are left out.
    """
    parts = [pd.DataFrame(columns=COLUMNS)]
    for (model, loss), seeds in fits.items():
        found = [weights for fit in seeds if (weights := gene_weights(fit)) is not None]
        if not found:
            continue
        mean = np.mean(found, axis=0)
        genes, types = seeds[0].genes["feature_name"].to_numpy(), seeds[0].types
        for direction, sign in (("for", -1.0), ("against", 1.0)):
            order = np.argsort(sign * mean, axis=1, kind="stable")[:, :NAMED]
            index, rank = np.indices(order.shape)
            part = pd.DataFrame({"index": index.ravel(), "rank": rank.ravel() + 1})
            part["gene"] = genes[order].ravel()
            part["weight"] = np.take_along_axis(mean, order, axis=1).ravel()
            for column in ("cl_id", "label"):
                part[column] = types[column].to_numpy()[part["index"]]
            parts.append(part.assign(model=model, loss=loss, direction=direction)[COLUMNS])
    return pd.concat(parts[1:] or parts, ignore_index=True)
