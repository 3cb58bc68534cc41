"""Model files hold what was saved, and nothing that runs when they are opened."""

import zipfile
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from annotators import annotator, cells, make_annotator, model_path
from hce.annotate import annotate, load_annotator
from hce.annotate.annotator import save_annotator
from hce.cli import main
from hce.errors import UserError
from hce.models import build_model

__all__ = ["annotator", "cells", "model_path"]


class TestModelFiles:
    def test_hold_what_was_saved_to_the_byte(self, annotator, cells, tmp_path):
        save_annotator(tmp_path / "a.hce", annotator)
        loaded = load_annotator(tmp_path / "a.hce")
        save_annotator(tmp_path / "b.hce", loaded)
        assert (tmp_path / "a.hce").read_bytes() == (tmp_path / "b.hce").read_bytes()
        pd.testing.assert_frame_equal(
            loaded.calibrated_precision, annotator.calibrated_precision, check_dtype=False
        )
        again = cells.copy()
        annotate(cells, annotator)
        annotate(again, tmp_path / "a.hce")
        pd.testing.assert_frame_equal(cells.obs, again.obs)

    @pytest.mark.parametrize(
        ("uri", "kept"), [("atlas/soma", False), ("file:///soma", False), ("s3://b/soma", True)]
    )
    def test_say_where_the_data_lay_only_if_others_can_reach_it(self, uri, kept, tmp_path):
        made = make_annotator()
        made.trained.provenance["data"] = {"release": "2023-05-15", "uri": uri}
        save_annotator(tmp_path / "a.hce", made)
        data = load_annotator(tmp_path / "a.hce").trained.provenance["data"]
        assert data["release"] == "2023-05-15"
        assert data.get("uri") == (uri if kept else None)

    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("mlp", {"hidden_size": 8, "n_hidden": 2}),
            ("tabnet", {"n_d": 8, "n_a": 8}),
        ],
    )
    def test_hold_models_of_every_class(self, name, arguments, annotator, cells, tmp_path):
        spec = {"class": name, "arguments": arguments}
        trained = replace(
            annotator.trained,
            model=build_model(name, 40, 4, **arguments).eval(),
            provenance=annotator.trained.provenance | {"model": spec},
        )
        save_annotator(tmp_path / "a.hce", replace(annotator, trained=trained))
        again = cells.copy()
        annotate(cells, replace(annotator, trained=trained), probabilities=True)
        annotate(again, tmp_path / "a.hce", probabilities=True)
        np.testing.assert_array_equal(
            again.obsm["hce_probabilities"], cells.obsm["hce_probabilities"]
        )

    def test_hold_no_pickle(self, model_path):
        with zipfile.ZipFile(model_path) as archive:
            assert archive.namelist()[0] == "model.json"
            assert all(name.endswith(".npy") for name in archive.namelist()[1:])
            for name in archive.namelist()[1:]:
                with archive.open(name) as member:
                    np.lib.format.read_array(member, allow_pickle=False)

    def test_that_name_a_class_of_others_are_not_opened_unless_trusted(self, tmp_path):
        stranger = make_annotator(model={"class": "os:system", "arguments": {}})
        save_annotator(tmp_path / "model.hce", stranger)
        with pytest.raises(UserError, match="names a model that is not part of hce, 'os:system'"):
            load_annotator(tmp_path / "model.hce")
        trusted = make_annotator(model={"class": "hce.models.linear:Linear", "arguments": {}})
        save_annotator(tmp_path / "model.hce", trusted)
        assert len(load_annotator(tmp_path / "model.hce", allow_imports=True).trained.genes) == 40
        for command in (["models", "model.hce"], ["explain", "T cell", "--model", "model.hce"]):
            arguments = [str(tmp_path / name) if "." in name else name for name in command]
            assert main(arguments) == 1
            assert main([*arguments, "--allow-imports"]) == 0

    def test_that_are_none_or_damaged_are_refused(self, model_path, tmp_path):
        content = model_path.read_bytes()
        bad = tmp_path / "bad.hce"
        for length in np.linspace(0, len(content) - 1, 25).astype(int):
            bad.write_bytes(content[:length])
            with pytest.raises(UserError, match=r"bad\.hce is not a model file"):
                load_annotator(bad)
        rng = np.random.default_rng(0)
        for _ in range(100):
            mutated = bytearray(content)
            for place in rng.integers(0, len(content), 20):
                mutated[place] ^= 1 + rng.integers(0, 255)
            bad.write_bytes(mutated)
            with suppress(UserError):
                load_annotator(bad)
        with pytest.raises(UserError, match="does not exist"):
            load_annotator(tmp_path / "absent.hce")
