"""A whole training step with each loss, beside cross-entropy.

The linear model at the paper's size (19,331 genes, the 164 types and their hierarchy, batches of
2,048 cells, AdamW as in the paper) on the CPU, on simulated cells with about 2,400 genes each.

Denormal numbers slow some processors down manyfold, and gradients become denormal where logits lie
more than 87 apart, as they may late in a training. A few dozen steps do not lead there, so HCE is
also timed from weights that are scaled up: an eighth of its gradients is then denormal, unless
they are flushed to zero as `prepare_device` does.
"""

import itertools
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from harness import Result, interleaved_medians
from torch import Tensor

from hce.losses import LOSSES, build_loss
from hce.models import build_model
from hce.ontology import Hierarchy, Ontology, read_ontology
from hce.training.device import prepare_device
from hce.training.loop import training_step

ONTOLOGY = Path(__file__).parents[2] / "resources" / "ontology"
GENES = 19_331
BATCH = 2_048
BATCHES = 4
NON_ZERO = 2_400
# With the 164 types about as many targets, pairs of a study and a label, as the paper's data have.
STUDIES = 45
# Scale of the initial weights at which logits lie about 100 apart.
SHARP = 80.0
WARM_UP = 10
REPEATS = 20


def ontology() -> Ontology:
    """The part of the ontology that relates the paper's types."""
    return read_ontology(ONTOLOGY / "cl-slim.obo")


def hierarchy() -> Hierarchy:
    """The hierarchy of the paper's 164 types."""
    types = pd.read_csv(ONTOLOGY / "cell_types_164.tsv", sep="\t", comment="#")
    labels = dict(zip(types["cl_id"], types["label"], strict=True))
    return Hierarchy.build(labels, ontology())


def simulated_batches(n_types: int) -> list[tuple[Tensor, Tensor]]:
    """Simulated cells: expression, float32 (batch, genes), and labels, int64 (batch,)."""
    rng = np.random.default_rng(0)
    # How often each gene is seen, and how the types differ in that.
    common = np.sort(rng.beta(0.3, 2.1, GENES)).astype(np.float32)
    seen = np.tile(common * NON_ZERO / common.sum(), (n_types, 1)).clip(max=0.95)
    for row in seen:
        row[rng.choice(GENES, 200, replace=False)] = 0.6
    batches = []
    for _ in range(BATCHES):
        labels = rng.integers(0, n_types, BATCH)
        expression = np.zeros((BATCH, GENES), dtype=np.float32)
        for cell, label in zip(expression, labels, strict=True):
            genes = np.flatnonzero(rng.random(GENES, dtype=np.float32) < seen[label])
            counts = rng.geometric(0.5, len(genes)).astype(np.float32)
            cell[genes] = np.log1p(counts * (10_000 / counts.sum()))
        batches.append((torch.from_numpy(expression), torch.from_numpy(labels)))
    return batches


def make_step(
    loss: str,
    arguments: dict[str, float],
    scale: float,
    types: Hierarchy,
    batches: list[tuple[Tensor, Tensor]],
) -> Callable[[], Tensor]:
    """A function that takes one training step on the next of the batches."""
    torch.manual_seed(0)
    model = build_model("linear", GENES, len(types))
    with torch.no_grad():
        model.get_parameter("weight").mul_(scale)
    reachability = torch.from_numpy(types.reachability)
    criterion = build_loss(loss, reachability, torch.ones(len(types)), **arguments)
    if criterion.by_study:
        rng = torch.Generator().manual_seed(0)
        labels = torch.arange(len(types)).repeat(STUDIES)
        left = torch.rand(len(labels), len(types), generator=rng) < 0.5
        criterion.take_targets(labels, reachability[labels] & left)
        studies = torch.randint(STUDIES, (len(batches), BATCH), generator=rng)
        batches = [
            (expression, label + len(types) * study)
            for (expression, label), study in zip(batches, studies, strict=True)
        ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.01)
    step = partial(training_step, model, criterion, optimizer, 1.0)
    endless = itertools.cycle(batches)
    return lambda: step(*next(endless))


def run() -> list[Result]:
    """Medians of interleaved steps, in milliseconds."""
    prepare_device("cpu", len(os.sched_getaffinity(0)))
    types = hierarchy()
    batches = simulated_batches(len(types))
    steps = {name: make_step(name, {}, 1.0, types, batches) for name in LOSSES}
    steps |= {
        f"{name}, smoothed": make_step(name, {"smoothing": 0.1}, 1.0, types, batches)
        for name in ("hce", "hce_log")
    }
    steps["mix, by study"] = make_step("mix", {"pi": 0.0}, 1.0, types, batches)
    steps["hce, logits 100 apart"] = make_step("hce", {}, SHARP, types, batches)
    medians = interleaved_medians(steps, WARM_UP, REPEATS)
    return [
        Result(
            benchmark=f"loss_step: {name}",
            value=1e3 * medians[name],
            unit="ms/step",
            peer="ce",
            peer_value=1e3 * medians["ce"],
            target=1.05,
        )
        for name in steps
        if name != "ce"
    ]
