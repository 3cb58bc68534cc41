"""A saved model comes back equal and predicts as it did; other files are refused."""

import numpy as np
import pandas as pd
import pytest
import torch

from hce.decoding import Decoder
from hce.errors import UserError
from hce.evaluation.predict import predict
from hce.models import build_model
from hce.models.trained_model import load_model, save_model
from hce.ontology import Hierarchy
from hce.store.cell_store import write_store
from hce.store.shards import write_shard
from separable_cells import N_GENES, N_TYPES, cells

__all__ = ["cells"]


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

    def test_the_mean_reachability_travels_with_the_model(self, types, tmp_path):
        model = build_model("linear", N_GENES, N_TYPES)
        spec, loss = ({"class": name, "arguments": {}} for name in ("linear", "hce_study"))
        mean = np.where(types.reachability, 0.5, 0).astype(np.float32)
        np.fill_diagonal(mean, 1)
        arguments = tmp_path / "m.pt", spec, loss, model.state_dict(), self.GENES, types, {}
        save_model(*arguments, mean_reachability=mean)
        np.testing.assert_array_equal(load_model(tmp_path / "m.pt").mean_reachability, mean)
        save_model(*arguments)
        assert load_model(tmp_path / "m.pt").mean_reachability is None
        save_model(*arguments, mean_reachability=1 - mean)
        with pytest.raises(UserError, match="mean reachability is not one of its types"):
            load_model(tmp_path / "m.pt")

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
        with pytest.raises(UserError, match=r"x\.pt is not a model file"):
            load_model(tmp_path / "x.pt")

    def test_a_file_with_code_in_it_is_not_run(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return (open, (str(tmp_path / "ran"), "w"))

        torch.save({"format": Trap()}, tmp_path / "x.pt")
        with pytest.raises(UserError, match="is not a model file"):
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
