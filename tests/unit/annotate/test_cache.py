"""Fetched models: whole or absent, held to their checksums, and found by name."""

import http.server

import numpy as np
import pytest

from annotators import annotator, cells, model_path
from hce.annotate import annotate, cache, load_annotator
from hce.annotate.cache import cache_folder, fetch_model, find_model, list_models
from hce.cli import main
from hce.errors import UserError
from hce.files import sha256_of, write_tsv
from local_server import files_of, serving

__all__ = ["annotator", "cells", "model_path"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HCE_MODELS", raising=False)
    monkeypatch.setattr(cache, "WAIT", 0.01)


@pytest.fixture
def served(tmp_path, model_path):
    """The address of a folder with a model file and an index of it."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "blood cells.hce").write_bytes(model_path.read_bytes())
    write_tsv(list_models([folder / "blood cells.hce"]), folder / "models.tsv")
    with serving(files_of(folder)) as address:
        yield address


def cached() -> list[str]:
    return [] if not cache_folder().exists() else sorted(p.name for p in cache_folder().iterdir())


def test_a_fetched_model_annotates_by_its_name(served, model_path, cells):
    path = fetch_model(f"{served}/blood%20cells.hce")
    assert path == cache_folder() / "blood cells.hce"
    assert sha256_of(path) == sha256_of(model_path)
    annotate(cells, "blood cells")
    assert cells.uns["hce"]["model"] == load_annotator(model_path).fingerprint
    assert find_model("blood cells.hce") == path


def test_a_name_is_looked_up_in_an_index(served, tmp_path, monkeypatch):
    path = fetch_model("blood cells", f"{served}/models.tsv")
    path.unlink()
    monkeypatch.setenv("HCE_MODELS", str(tmp_path / "served/models.tsv"))  # of this machine
    assert fetch_model("blood cells") == path
    assert path.is_file()


def test_a_file_that_is_there_is_not_fetched_again(served, monkeypatch):
    fetch_model("blood cells", f"{served}/models.tsv")
    monkeypatch.setattr(cache, "download", lambda *_: pytest.fail("fetched again"))
    fetch_model(f"{served}/blood%20cells.hce", sha256=sha256_of(find_model("blood cells")))


@pytest.mark.parametrize("wanted", ["blood cell", "blod cells"])
def test_an_unknown_name_is_answered_with_similar_ones(served, wanted):
    with pytest.raises(UserError, match=r"has no model .* \(did you mean blood cells\?\)"):
        fetch_model(wanted, f"{served}/models.tsv")
    fetch_model(f"{served}/blood%20cells.hce")
    with pytest.raises(UserError, match=r"\(did you mean blood cells\?\)"):
        load_annotator(wanted)
    with pytest.raises(UserError, match="no index of models"):
        fetch_model(wanted)


def test_another_checksum_is_refused_and_what_was_there_stays(served, tmp_path):
    with pytest.raises(UserError, match="but --sha256 says 0000"):
        fetch_model(f"{served}/blood%20cells.hce", sha256="0" * 64)
    assert cached() == []
    path = fetch_model(f"{served}/blood%20cells.hce")
    before = path.read_bytes()
    (tmp_path / "served/blood cells.hce").write_bytes(b"another model")
    with pytest.raises(UserError, match=r"hce\.sha256 says"):
        fetch_model(f"{served}/blood%20cells.hce")
    assert path.read_bytes() == before
    path.unlink()
    with pytest.raises(UserError, match=r"models\.tsv says"):
        fetch_model("blood cells", f"{served}/models.tsv")


def test_a_download_that_is_cut_off_leaves_nothing(model_path):
    class Cut(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(model_path.stat().st_size))
            self.end_headers()
            self.wfile.write(model_path.read_bytes()[:1000])

        def log_message(self, *_):
            pass

    with serving(Cut) as address, pytest.raises(UserError, match="1000 of"):
        fetch_model(f"{address}/a.hce")
    assert cached() == []


def test_a_cache_that_cannot_be_written_is_named_with_a_way_out(served, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", "/proc"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(place))
        with pytest.raises(UserError, match=r"cannot be written .*: set XDG_CACHE_HOME"):
            fetch_model(f"{served}/blood%20cells.hce")


def test_a_fetched_file_that_was_damaged_since_is_found(served):
    path = fetch_model(f"{served}/blood%20cells.hce")
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    content[len(content) // 2] ^= 1
    path.write_bytes(content.tobytes())
    with pytest.raises(UserError, match="not as it was written"):
        load_annotator("blood cells")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("name\turl\n", "it needs the columns"), ("a\n", "it needs the columns"), (None, "be read")],
)
def test_what_is_not_an_index_is_named(tmp_path, text, sentence):
    path = tmp_path / "index.tsv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        fetch_model("a", str(path))


def test_an_address_of_something_else_is_refused(served):
    with pytest.raises(UserError, match=r"must end in \.hce"):
        fetch_model(f"{served}/models.tsv")


def test_the_command_fetches_and_shows(served, capsys):
    assert main(["models", "--get", "blood cells", "--index", f"{served}/models.tsv"]) == 0
    assert "blood cells.hce" in capsys.readouterr().out
    assert main(["models", "--card", "blood cells"]) == 0
    assert capsys.readouterr().out.startswith("# blood cells\n")
    assert main(["models"]) == 1
    assert "fetch one with --get" in capsys.readouterr().err
