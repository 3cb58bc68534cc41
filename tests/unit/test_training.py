import numpy as np
import pandas as pd
import pytest
import torch

from hce.checkpoint import Checkpoint
from hce.decoding import Decoder
from hce.densify import Augmentation
from hce.device import BATCH_DTYPES, prepare_device
from hce.errors import UserError
from hce.loader import Batches
from hce.losses import HierarchicalLoss, build_loss
from hce.model_file import load_model, save_model
from hce.models import build_model
from hce.ontology import Hierarchy
from hce.prediction import predict
from hce.residency import open_batches
from hce.store import write_shard, write_store
from hce.training import (
    Recipe,
    build_optimizer,
    compute_logits,
    train,
    training_step,
    validate,
)

RECIPE = Recipe(
    max_epochs=4, patience=10, max_gradient_norm=1.0, lr=0.01, weight_decay=0.01, gamma=0.9
)
N_TYPES, N_GENES = 4, 120
R = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).bool()


@pytest.fixture
def cells(make_counts):
    """Cells whose type shows in ten genes of its own."""

    def make(n, seed):
        counts = make_counts(n, N_GENES, seed)
        labels = np.random.default_rng(seed).integers(0, N_TYPES, n)
        counts.values[:] = 1
        owner = np.repeat(labels, np.diff(counts.indptr))
        counts.values[counts.genes // 10 == owner] = 200
        return Batches(counts, labels, N_GENES, batch_size=32)

    return make


def run(cells, loss_name="ce", seed=0, recipe=RECIPE):
    torch.manual_seed(seed)
    model = build_model("linear", N_GENES, N_TYPES)
    loss = build_loss(loss_name, R, torch.ones(N_TYPES))
    return train(model, loss, cells(400, 1), cells(100, 2), recipe, seed)


@pytest.mark.parametrize("loss", ["ce", "hce", "hce_log"])
def test_training_learns_types_that_show_in_their_genes(cells, loss):
    fit = run(cells, loss)
    assert fit.history["val_credited_macro_f1"].iloc[-1] > 0.5  # by chance 0.25
    assert fit.history["train_loss"].is_monotonic_decreasing


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(cells):
    a, b, c = run(cells), run(cells), run(cells, seed=1)
    assert torch.equal(a.weights["weight"], b.weights["weight"])
    assert a.history.equals(b.history)
    assert not torch.equal(a.weights["weight"], c.weights["weight"])


def test_the_best_epoch_is_kept_and_training_stops_after_patience(cells, monkeypatch):
    scores = iter([0.1, 0.5, 0.4, 0.5, 0.3, 0.9])
    kept = []

    def fake(model, *_):
        kept.append(model.weight.detach().clone())
        return 1.0, next(scores), 0.0

    monkeypatch.setattr("hce.training.validate", fake)
    recipe = Recipe(**(vars(RECIPE) | {"max_epochs": 50, "patience": 3}))
    fit = run(cells, recipe=recipe)
    assert len(fit.history) == 5
    assert fit.best_epoch == 1
    assert torch.equal(fit.weights["weight"], kept[1])


def test_the_learning_rate_falls_by_gamma_each_epoch(cells):
    assert run(cells).history["lr"].tolist() == pytest.approx([0.01, 0.009, 0.0081, 0.00729])


def test_validation_credits_descendants_and_scores_the_loss_on_credited_targets():
    class Fixed(torch.nn.Module):
        def forward(self, x):
            return torch.tensor([[0.0, 5.0, 0.0, 0.0]]).expand(len(x), -1)

    class OneBatch:
        def __len__(self):
            return 2

        def in_order(self):
            yield torch.zeros(2, 1), torch.tensor([0, 1])  # both answered 1, a descendant of 0

    loss = build_loss("ce", R, torch.tensor([9.0, 1, 1, 1]))
    value, credited, exact = validate(Fixed(), loss, OneBatch(), R.numpy())
    assert credited == 1.0
    assert exact == pytest.approx((0 + 2 / 3) / 2)
    logits = torch.tensor([[0.0, 5.0, 0.0, 0.0]])
    assert value == pytest.approx(
        torch.nn.functional.cross_entropy(logits, torch.tensor([1])).item()
    )


def test_validation_reads_types_as_the_loss_says():
    class Internal(torch.nn.Module):
        def forward(self, x):
            return torch.tensor([[9.0, 5.0, 0.0, 0.0]]).expand(len(x), -1)

    class OneBatch:
        def __len__(self):
            return 1

        def in_order(self):
            yield torch.zeros(1, 1), torch.tensor([1])

    for name, expected in (("leaf", 1.0), ("ce", 0.0)):
        loss = build_loss(name, R, torch.ones(N_TYPES))
        assert validate(Internal(), loss, OneBatch(), R.numpy())[1] == expected


def test_a_step_clips_the_gradient_and_decays_the_weights_as_adamw_does():
    torch.manual_seed(0)
    model, loss = torch.nn.Linear(3, N_TYPES), build_loss("ce", R, torch.ones(N_TYPES))
    x, y = 100 * torch.randn(8, 3), torch.arange(8) % N_TYPES
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    before = model.weight.detach().clone()
    training_step(model, loss, optimizer, 1.0, x, y)
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()
    assert norm == pytest.approx(1.0, rel=1e-4)
    # Adam's first step is lr in the gradient's direction, whatever its size; decay is lr × wd.
    expected = before * (1 - 0.1 * 0.5) - 0.1 * model.weight.grad.sign()
    torch.testing.assert_close(model.weight.detach(), expected, rtol=1e-3, atol=1e-3)


def test_fewer_cells_than_a_batch_are_refused(cells):
    with pytest.raises(UserError, match=r"20 training cells, fewer than training\.batch_size = 32"):
        list(cells(20, 1).shuffled(np.random.default_rng(0)))


def test_denormal_numbers_are_flushed_to_zero_on_the_cpu():
    prepare_device("cpu", 1)
    tiny = torch.tensor([1e-39]) * torch.tensor([1.0])
    assert tiny.item() == 0.0


class NaNLoss(HierarchicalLoss):
    """Turns bad in its third batch."""

    calls = 0

    def per_cell(self, logits, labels):
        self.calls += 1
        return logits.sum(dim=1) * (float("nan") if self.calls == 3 else 1.0)


def test_a_loss_that_is_not_finite_stops_with_batch_and_seed(cells):
    model, loss = build_model("linear", N_GENES, N_TYPES), NaNLoss(R, torch.ones(N_TYPES))
    with pytest.raises(UserError, match=r"not finite at batch 2 of epoch 0 \(seed 7\)"):
        train(model, loss, cells(400, 1), cells(100, 2), RECIPE, 7)


def test_a_gpu_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match="sees no GPU here"):
        prepare_device("cuda", 1)


class TestModelFile:
    GENES = pd.DataFrame({"feature_id": [f"E{i}" for i in range(N_GENES)], "feature_name": "g"})

    @pytest.fixture
    def types(self, slim):
        return Hierarchy.build(
            {
                "CL:0000084": "T cell",
                "CL:0000624": "CD4-positive T cell",
                "CL:0000236": "B cell",
                "CL:0000540": "neuron",
            },
            slim,
        )

    @pytest.fixture
    def saved(self, types, loss_class, tmp_path):
        torch.manual_seed(0)
        model = build_model("linear", N_GENES, N_TYPES)
        path = tmp_path / "model.pt"
        spec = {"class": "linear", "arguments": {}}
        loss = {"class": loss_class, "arguments": {}}
        save_model(path, spec, loss, model.state_dict(), self.GENES, types, {"seed": 0})
        return path, model

    @pytest.fixture
    def loss_class(self):
        return "hce"

    @pytest.fixture
    def store(self, cells, tmp_path):
        batches = cells(100, 3)
        ids = np.arange(100, dtype=np.int64)
        write_shard(tmp_path / "0.arrow", [(ids, batches.counts)])
        table = pd.DataFrame({"soma_joinid": ids, "label": batches.labels.numpy()})
        return write_store(tmp_path / "s", [tmp_path / "0.arrow"], table, self.GENES, {})

    def test_a_saved_model_comes_back_equal(self, saved, types):
        path, model = saved
        trained = load_model(path)
        assert torch.equal(trained.model.weight, model.weight)
        assert trained.genes.equals(self.GENES)
        assert trained.types["label"].tolist() == types.labels
        assert (trained.reachability == types.reachability).all()

    def test_a_loss_with_another_reachability_is_read_out_by_that_one(self, types, tmp_path):
        model, other = build_model("linear", N_GENES, N_TYPES), np.eye(N_TYPES, dtype=bool)
        other[0, 1] = True  # the first type has the second below it
        spec, loss = ({"class": name, "arguments": {}} for name in ("linear", "leaf"))
        weights = model.state_dict()
        path = tmp_path / "model.pt"
        save_model(path, spec, loss, weights, self.GENES, types, {}, loss_reachability=other)
        trained = load_model(path)
        assert (trained.reachability == types.reachability).all()
        p = trained.loss.probabilities(torch.zeros(1, N_TYPES))
        assert p[0].tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])

    @pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04"])
    def test_a_file_that_is_no_model_is_refused(self, content, tmp_path):
        (tmp_path / "x.pt").write_bytes(content)
        with pytest.raises(UserError, match=r"x\.pt is no model file"):
            load_model(tmp_path / "x.pt")

    def test_a_file_with_code_in_it_is_not_run(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return (open, (str(tmp_path / "ran"), "w"))

        torch.save({"format": Trap()}, tmp_path / "x.pt")
        with pytest.raises(UserError, match="is no model file"):
            load_model(tmp_path / "x.pt")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("loss_class", ["leaf"])
    def test_a_model_trained_with_leaf_answers_leaves_and_gives_parents_their_leaves(
        self, saved, store, cells, types
    ):
        trained, (_, model) = load_model(saved[0]), saved
        leaf = types.reachability.sum(axis=1) == 1
        parent, child = types.labels.index("T cell"), types.labels.index("CD4-positive T cell")
        assert leaf.tolist() == [i != parent for i in range(N_TYPES)]
        with torch.no_grad():
            model.bias[parent] += 100  # it means nothing
        trained.model.load_state_dict(model.state_dict())
        x, _ = next(cells(100, 3).in_order())
        with torch.no_grad():
            p, logits = trained.probabilities(x), model(x)
        torch.testing.assert_close(p[:, leaf], logits[:, leaf].softmax(1))
        assert (p[:, parent] == 0).all()
        decoders = [Decoder("argmax"), Decoder("ancestor_sum")]
        found = predict(trained, store, decoders, 16, torch.device("cpu"))
        assert leaf[found["prediction_argmax"]].all()
        s = p @ torch.from_numpy(types.reachability).float().T
        torch.testing.assert_close(s[:, parent], p[:, child])

    def test_predictions_of_a_store_equal_the_model_on_its_cells(self, saved, store, cells):
        path, model = saved
        batches = cells(100, 3)
        decoders = [Decoder("argmax"), Decoder("ancestor_sum")]
        found = predict(load_model(path), store, decoders, 16, torch.device("cpu"))
        with torch.no_grad():
            p = torch.cat([model(x).softmax(1) for x, _ in batches.in_order()])
        assert (found["prediction_argmax"] == p.argmax(1).numpy()).all()
        np.testing.assert_allclose(found["probability_argmax"], p.max(1).values, rtol=1e-5)
        assert (found["label"] == batches.labels.numpy()).all()
        assert found.dtypes["prediction_ancestor_sum"] == np.int16
        reachability = load_model(path).reachability
        for cell, u in enumerate(found["prediction_ancestor_sum"]):
            probability, s, credited = found.loc[
                cell, [f"{name}_ancestor_sum" for name in ("probability", "s", "credited")]
            ]
            assert probability == pytest.approx(p[cell, u].item(), rel=1e-5)
            assert s == pytest.approx(p[cell, reachability[u]].sum().item(), rel=1e-5)
            assert credited == pytest.approx(p[cell, reachability[:, u]].sum().item(), rel=1e-5)

    def test_probabilities_that_are_no_numbers_name_the_fit(self, saved, cells, tmp_path):
        batches = cells(10, 3)
        ids = np.arange(10, dtype=np.int64)
        write_shard(tmp_path / "0.arrow", [(ids, batches.counts)])
        table = pd.DataFrame({"soma_joinid": ids, "label": batches.labels.numpy()})
        store = write_store(tmp_path / "s", [tmp_path / "0.arrow"], table, self.GENES, {})
        trained = load_model(saved[0])
        with torch.no_grad():
            for weight in trained.model.parameters():
                weight.fill_(torch.nan)
        with pytest.raises(UserError, match=r"gives no probabilities \(NaN\) for 10 cells"):
            predict(trained, store, [Decoder("argmax")], 16, torch.device("cpu"))

    def test_a_store_of_other_genes_is_refused(self, saved, cells, tmp_path):
        batches = cells(10, 3)
        ids = np.arange(10, dtype=np.int64)
        write_shard(tmp_path / "0.arrow", [(ids, batches.counts)])
        table = pd.DataFrame({"soma_joinid": ids, "label": batches.labels.numpy()})
        genes = self.GENES.iloc[::-1]
        store = write_store(tmp_path / "s", [tmp_path / "0.arrow"], table, genes, {})
        with pytest.raises(UserError, match="other genes"):
            predict(load_model(saved[0]), store, [Decoder("argmax")], 16, torch.device("cpu"))


def test_bfloat16_batches_give_nearly_the_step_of_float32_and_keep_the_weights_in_float32(cells):
    (x, y) = next(iter(cells(100, 1).in_order()))
    gradients = []
    for expression in (x, x.bfloat16()):
        torch.manual_seed(0)
        model, loss = build_model("mlp", N_GENES, N_TYPES), build_loss("hce", R, torch.ones(4))
        model.eval()  # no dropout
        optimizer = build_optimizer(model, 1e-3, 0.0)
        training_step(model, loss, optimizer, 1.0, expression, y)
        assert all(weight.dtype == torch.float32 for weight in model.parameters())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    similarity = torch.nn.functional.cosine_similarity(*gradients, dim=0)
    assert similarity > 0.99
    assert not torch.equal(*gradients)


@pytest.mark.parametrize("name", ["linear", "mlp", "tabnet"])
def test_every_model_takes_bfloat16_and_gives_logits_in_float32(cells, name):
    (x, y) = next(iter(cells(100, 1).in_order()))
    model, loss = build_model(name, N_GENES, N_TYPES), build_loss("hce", R, torch.ones(4))
    value = training_step(model, loss, build_optimizer(model, 1e-3, 0.0), 1.0, x.bfloat16(), y)
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert compute_logits(model, x.bfloat16()).dtype == torch.float32


class Interruption(Exception):
    pass


@pytest.mark.parametrize("residency", ["gpu", "host", "disk"])
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_fit_goes_on_in_the_middle_of_an_epoch_wherever_its_cells_are(
    cells, residency, precision, tmp_path, monkeypatch
):
    monkeypatch.setattr("hce.store.BATCH_CELLS", 32)
    whole = cells(200, 1)
    ids = np.arange(200, dtype=np.int64)
    write_shard(tmp_path / "0.arrow", [(ids, whole.counts)])
    table = pd.DataFrame({"soma_joinid": ids, "label": whole.labels.numpy()})
    genes = pd.DataFrame({"feature_id": [f"E{i}" for i in range(N_GENES)], "feature_name": "g"})
    store = write_store(tmp_path / "s", [tmp_path / "0.arrow"], table, genes, {})
    dtype, cpu = BATCH_DTYPES[precision], torch.device("cpu")
    vectors = np.random.default_rng(0).normal(0, 0.1, (5, N_GENES)).astype(np.float32)
    recipe = Recipe(**(vars(RECIPE) | {"max_epochs": 2}))

    def attempt(checkpoint=None):
        torch.manual_seed(0)
        model, loss = build_model("mlp", N_GENES, N_TYPES), build_loss("hce", R, torch.ones(4))
        batches = open_batches(store, residency, 32, cpu, dtype, Augmentation(vectors, dtype))
        val = open_batches(store, residency, 32, cpu, dtype)
        return train(model, loss, batches, val, recipe, 3, checkpoint=checkpoint)

    undisturbed = attempt()
    steps = iter(range(9))

    def failing(*arguments):
        if next(steps) == 8:  # the third batch of the second epoch
            raise Interruption
        return training_step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("hce.training.training_step", failing)
        with pytest.raises(Interruption):
            attempt(Checkpoint(tmp_path / "resume.pt", "x", minutes=0.0))
    resumed = attempt(Checkpoint(tmp_path / "resume.pt", "x", minutes=0.0))
    assert resumed.history.equals(undisturbed.history)
    for name, weight in undisturbed.weights.items():
        assert torch.equal(resumed.weights[name], weight)


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(cells, tmp_path):
    model, loss = build_model("linear", N_GENES, N_TYPES), NaNLoss(R, torch.ones(N_TYPES))
    checkpoint = Checkpoint(tmp_path / "resume.pt", "x", minutes=0.0)
    with pytest.raises(UserError, match="not finite at batch 2"):
        train(model, loss, cells(400, 1), cells(100, 2), RECIPE, 7, checkpoint=checkpoint)
    state = checkpoint.load()
    assert len(state["losses"]) == 2
    assert all(torch.isfinite(weight).all() for weight in state["model"].values())


def test_a_fit_that_began_on_a_gpu_goes_on_without_one(cells, tmp_path):
    checkpoint = Checkpoint(tmp_path / "resume.pt", "x", minutes=60.0)
    short = Recipe(**(vars(RECIPE) | {"max_epochs": 1}))

    def attempt(recipe):
        model, loss = build_model("linear", N_GENES, N_TYPES), build_loss("ce", R, torch.ones(4))
        batches = cells(400, 1), cells(100, 2)
        return train(model, loss, *batches, recipe, 7, checkpoint=checkpoint)

    attempt(short)
    state = checkpoint.load()
    state["random"]["cuda"] = torch.zeros(1, 16, dtype=torch.uint8)
    checkpoint.save(state)
    assert len(attempt(RECIPE).history) == RECIPE.max_epochs
