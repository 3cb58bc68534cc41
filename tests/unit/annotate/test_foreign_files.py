"""`hce annotate` touches no file but its output: it follows no link and replaces no input."""

import os
import signal
import subprocess
import sys
import time

import anndata as ad
import h5py
import pytest

from annotators import annotator, cells, make_cells, model_path, source
from hce.annotate import annotate_file
from hce.cli import main
from hce.errors import UserError
from hce.inputs.cells import open_cells

__all__ = ["annotator", "cells", "model_path", "source"]


@pytest.fixture
def victim(tmp_path):
    make_cells(5).write_h5ad(tmp_path / "victim.h5ad")
    return tmp_path / "victim.h5ad"


@pytest.mark.parametrize("name", ["obs", "uns", "layers/x", "obs/age"])
def test_a_link_to_another_file_is_refused_before_anything_is_read(
    name, source, victim, annotator, tmp_path
):
    before = victim.read_bytes()
    with h5py.File(source, "r+") as file:
        if name in file:
            del file[name]
        file[name] = h5py.ExternalLink(str(victim), name if name in ("obs", "uns") else "/X")
    content = source.read_bytes()
    with pytest.raises(UserError, match=rf"leads out of it \(/{name} to .*victim\.h5ad"):
        annotate_file(source, annotator, tmp_path / "out.h5ad")
    assert victim.read_bytes() == before
    assert source.read_bytes() == content
    assert not (tmp_path / "out.h5ad").exists()


def test_values_that_lie_in_another_file_are_refused(source, annotator, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(range(40)))
    with h5py.File(source, "r+") as file:
        file.create_dataset("obs/secret", (40,), "u1", external=[(str(tmp_path / "secret"), 0, 40)])
    with (
        pytest.raises(UserError, match=r"/obs/secret to values in other files"),
        open_cells(source),
    ):
        pass


@pytest.mark.parametrize("name", ["obs", "uns", "obsm"])
def test_a_link_in_place_of_what_is_written_to_is_refused(name, source, annotator, tmp_path):
    with h5py.File(source, "r+") as file:
        file.move(name, "hidden")
        file[name] = h5py.SoftLink("/hidden")
    annotate_file(source, annotator, tmp_path / "out.tsv")
    with pytest.raises(UserError, match=f"a link in place of {name}"):
        annotate_file(source, annotator, tmp_path / "out.h5ad")
    assert not (tmp_path / "out.h5ad").exists()


def test_groups_that_hold_each_other_are_no_endless_walk(source, annotator, tmp_path):
    with h5py.File(source, "r+") as file:
        file["uns/again"] = file["uns"]
    annotate_file(source, annotator, tmp_path / "out.tsv")


class TestZarr:
    @pytest.fixture
    def source(self, cells, tmp_path):
        cells.write_zarr(tmp_path / "cells.zarr")
        return tmp_path / "cells.zarr"

    @pytest.mark.parametrize("target", ["/", "../../elsewhere", "nowhere", "."])
    def test_a_symbolic_link_out_of_it_is_refused(self, target, source, annotator, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (source / "uns/link").symlink_to(source if target == "." else target)
        with pytest.raises(UserError, match=r"leads out of it \(uns/link to"):
            annotate_file(source, annotator, tmp_path / "out.zarr")
        assert not (tmp_path / "out.zarr").exists()

    @pytest.mark.parametrize("name", ["cells.zarr/out.tsv", "cells.zarr/deep/out.zarr", "in/o.tsv"])
    def test_an_output_within_the_input_is_refused(self, name, source, annotator, tmp_path):
        (tmp_path / "in").symlink_to(source)
        before = sorted(source.rglob("*"))
        with pytest.raises(UserError, match="lies in the input"):
            annotate_file(source, annotator, tmp_path / name)
        assert sorted(source.rglob("*")) == before

    def test_an_existing_folder_is_replaced_only_if_it_is_ours_or_by_force(
        self, source, annotator, cells, tmp_path
    ):
        out = tmp_path / "out.zarr"
        annotate_file(source, annotator, out)
        annotate_file(source, annotator, out)  # ours
        other = tmp_path / "other.zarr"
        cells.write_zarr(other)
        folder = tmp_path / "notes.tsv"
        folder.mkdir()
        (folder / "thesis").write_text("years of work")
        for name in (other, folder):
            with pytest.raises(UserError, match="an existing folder without an annotation of ours"):
                annotate_file(source, annotator, name)
        assert (folder / "thesis").exists()
        annotate_file(source, annotator, other, force=True)
        assert "hce_cell_type" in ad.read_zarr(other).obs

    def test_a_folder_around_the_input_is_not_replaced_by_force(self, cells, annotator, tmp_path):
        around = tmp_path / "all.zarr"
        around.mkdir()
        cells.write_zarr(around / "cells.zarr")
        with pytest.raises(UserError, match="would replace the input"):
            annotate_file(around / "cells.zarr", annotator, around, force=True)
        assert (around / "cells.zarr").exists()


@pytest.mark.parametrize("option", ["--out", "--genes"])
@pytest.mark.parametrize("name", ["cells.h5ad", "model.tsv"])
def test_no_output_replaces_an_input(option, name, source, model_path, tmp_path, capsys):
    model = model_path.rename(tmp_path / "model.tsv")
    target = tmp_path / name
    before = target.read_bytes()
    outputs = {"--out": str(tmp_path / "out.tsv"), option: str(target)}
    options = [word for pair in outputs.items() for word in pair]
    assert main(["annotate", str(source), "--model", str(model), *options]) == 1
    assert "is the input" in capsys.readouterr().err
    assert target.read_bytes() == before


SLOW = """
import sys, time
import hce.annotate.run as run
before = run.predict_batch
def slow(*arguments):
    (print("predicting", flush=True), time.sleep(600))
    return before(*arguments)
run.predict_batch = slow
from hce.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_kill_leaves_nothing_that_the_next_run_does_not_clear(
    number, source, model_path, tmp_path
):
    before = sorted(tmp_path.iterdir())
    out = tmp_path / "out.h5ad"
    arguments = ["annotate", str(source), "--model", str(model_path), "--out", str(out)]
    arguments += ["--probabilities", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "predicting\n"
    assert len(list(tmp_path.iterdir())) > len(before)
    process.send_signal(number)
    assert process.wait(300) != 0
    if number == signal.SIGTERM:
        assert sorted(tmp_path.iterdir()) == before
        return
    assert main(arguments) == 0
    assert sorted(tmp_path.iterdir()) == sorted([*before, out])


def test_what_a_running_process_writes_is_left_alone(source, annotator, tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    from hce.files import HOST

    theirs = tmp_path / f".out.tsv.{HOST}.{other.pid}.partial.tsv"
    elsewhere = tmp_path / ".out.tsv.another-host.1.partial.tsv"
    for path in (theirs, elsewhere):
        path.write_text("half")
    annotate_file(source, annotator, tmp_path / "out.tsv")
    assert theirs.exists()
    assert elsewhere.exists()
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    time.sleep(0.01)
    annotate_file(source, annotator, tmp_path / "out.tsv")
    assert not theirs.exists()
