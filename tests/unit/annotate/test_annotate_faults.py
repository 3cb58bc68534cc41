"""Bad input to `hce annotate`: one clear sentence, and the output absent rather than partial."""

import os
import subprocess
import sys
from contextlib import suppress

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotators import annotator, cells, make_cells, model_path
from hce.annotate import annotate, annotate_file
from hce.cli import main
from hce.errors import UserError
from hce.inputs.cells import checked_blocks, open_cells
from hce.inputs.counts import find_counts

__all__ = ["annotator", "cells", "model_path"]


def refused(cells, model_path, folder, capsys, *options: str) -> str:
    """The sentence that the command ends with; checks that it leaves nothing."""
    source = folder / "cells.h5ad"
    if isinstance(cells, ad.AnnData):
        cells.write_h5ad(source)
    before = sorted(folder.iterdir())
    arguments = ["annotate", str(source), "--model", str(model_path), "--device", "cpu"]
    assert main([*arguments, "--out", str(folder / "out.h5ad"), *options]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("hce: ")
    assert sorted(folder.iterdir()) == before
    return error


def normalised(cells):
    cells.X = cells.X * np.float32(0.37)
    return cells


def logged(cells):
    cells.X = cells.X.log1p()
    return cells


def scaled(cells):
    cells.X = cells.X.toarray() - np.float32(0.5)
    return cells


def infinite(cells):
    cells.X.data[3] = np.nan
    return cells


def empty(cells):
    cells.X = sp.csr_matrix(cells.shape, dtype=np.float32)
    return cells


def hidden(cells):
    cells.obsm["counts"] = cells.X.toarray()
    return normalised(cells)


def text(cells):
    cells.X = None
    cells.layers["notes"] = np.full(cells.shape, "a", dtype=object)
    return cells


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (normalised, "X holds values such as "),
        (logged, "as log-transformed data do"),
        (scaled, "negative values such as -0.5, as scaled data do"),
        (infinite, "missing or infinite"),
        (empty, "nothing but zeros"),
        (hidden, "put them into X or a layer, or name their layer"),
        (text, "holds no numbers"),
    ],
)
def test_what_is_no_counts_is_named(change, words, cells, model_path, tmp_path, capsys):
    assert words in refused(change(cells), model_path, tmp_path, capsys)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layer", "umis"], "no layer 'umis': name one of X"),
        (["--vote", "leiden"], "no obs column 'leiden' to vote over; it has cluster, age"),
        (["--types", "T cell", "astrocyte"], "no type 'astrocyte': `hce models --types` lists"),
        (["--types", "cd4"], "no type 'cd4': did you mean CD4 T cell"),
        (["--types", "monocites"], "did you mean monocyte"),
        (["--levels", "T cell", "--no-back-off"], "Levels are answered by the back-off"),
        (["--depths", "-1"], "No term of the model has a depth of -1 or less: the smallest is 0"),
        (["--probability", "0.97"], "no calibrated precision of 0.97, its calibration allows"),
        (["--probability", "1.5"], "must be between 0 and 1"),
        (["--device", "gpu"], "no device 'gpu'"),
        (["--device", "cuda:7"], "does not see it"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(options, words, cells, model_path, tmp_path, capsys):
    assert words in refused(cells, model_path, tmp_path, capsys, *options)


def test_a_count_that_is_none_far_down_the_file_is_refused(cells, annotator, tmp_path, monkeypatch):
    monkeypatch.setattr("hce.inputs.counts.LOOK_CELLS", 5)
    cells.X.data[-1] = 0.5
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(UserError, match=r"values that are no counts \(X: 0.5"):
        annotate_file(tmp_path / "cells.h5ad", annotator, tmp_path / "out.tsv")
    assert [path.name for path in tmp_path.iterdir()] == ["cells.h5ad"]


@pytest.mark.parametrize("name", ["out.csv", "out.zarr", "cells.h5ad"])
def test_outputs_of_another_format_and_the_input_itself_are_refused(
    name, cells, annotator, tmp_path
):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(UserError, match=r"end in \.h5ad|never altered"):
        annotate_file(tmp_path / "cells.h5ad", annotator, tmp_path / name)


def test_an_output_that_cannot_be_written_is_one_sentence(cells, model_path, tmp_path, capsys):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "taken").write_text("")
    out = str(tmp_path / "taken/out.tsv")
    arguments = ["annotate", str(tmp_path / "cells.h5ad"), "--model", str(model_path)]
    assert main([*arguments, "--out", out]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"hce: {tmp_path / 'taken'}")


def test_an_empty_list_of_plausible_types_is_refused(cells, annotator):
    with pytest.raises(UserError, match="list of plausible types is empty"):
        annotate(cells, annotator, types=[])


def test_missing_empty_and_old_files_are_named(cells, annotator, tmp_path):
    source, out = tmp_path / "cells.h5ad", tmp_path / "out.h5ad"
    with pytest.raises(UserError, match="does not exist"):
        annotate_file(source, annotator, out)
    cells[:0].write_h5ad(source)
    with pytest.raises(UserError, match="is empty: it has 0 cells"):
        annotate_file(source, annotator, out)
    cells.write_h5ad(source)
    with h5py.File(source, "r+") as file:
        del file["obs"].attrs["column-order"], file["obs"].attrs["encoding-type"]
    with pytest.raises(UserError):
        annotate_file(source, annotator, out)
    assert not out.exists()


FILLING = """
import resource, sys
from hce.cli import main
size, source, model, warm, *outputs = sys.argv[1:]
# Compiled loops are cached in files, which the limit would forbid.
main(["annotate", source, "--model", model, "--out", warm, "--no-back-off"])
print("limited")
for limit, out in zip((int(size) // 2, int(size) + 5000, 4096), outputs):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    print(main(["annotate", source, "--model", model, "--out", out]))
"""


def test_a_disk_that_fills_leaves_no_output(model_path, tmp_path):
    source = tmp_path / "cells.h5ad"
    make_cells(2000).write_h5ad(source)
    warm, *outputs = [str(tmp_path / name) for name in ("w.tsv", "a.h5ad", "b.h5ad", "c.tsv")]
    arguments = [str(source.stat().st_size), str(source), str(model_path), warm, *outputs]
    done = subprocess.run(
        [sys.executable, "-c", FILLING, *arguments], capture_output=True, text=True
    )
    assert done.stdout.split("limited")[1].split() == ["1", "1", "1"], done.stderr
    for out in outputs:
        assert f"hce: There is no space left for {out}" in done.stderr
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["cells.h5ad", "model.hce", "w.tsv"]


class TestDamagedFiles:
    @pytest.fixture(scope="class")
    def content(self, tmp_path_factory) -> bytes:
        path = tmp_path_factory.mktemp("whole") / "cells.h5ad"
        make_cells().write_h5ad(path)
        return path.read_bytes()

    @pytest.fixture(scope="class")
    def place(self, tmp_path_factory):
        return tmp_path_factory.mktemp("damaged") / "cells.h5ad"

    def read(self, path) -> None:
        """Reads all counts; only a UserError may come out, and nothing may crash."""
        with suppress(UserError), open_cells(path) as found:
            place = find_counts(found)
            for block in checked_blocks(place):
                assert block.shape[1] == len(place.var)

    def test_a_truncated_file_is_refused_at_any_length(self, content, place):
        for length in np.linspace(0, len(content) - 1, 40).astype(int):
            place.write_bytes(content[:length])
            with pytest.raises(UserError, match="truncated"), open_cells(place) as found:
                list(checked_blocks(find_counts(found)))

    @settings(
        max_examples=150,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        changes=st.lists(
            st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=30
        )
    )
    def test_a_mutated_file_is_read_or_refused(self, content, place, changes):
        mutated = bytearray(content)
        for where, value in changes:
            mutated[where * len(mutated) // (10**6 + 1)] = value
        place.write_bytes(mutated)
        self.read(place)

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("indptr", lambda values: values[::-1]),
            ("indptr", lambda values: values + 5),
            ("indptr", lambda values: np.append(values[:-1], 10**12)),
            ("indptr", lambda values: values[:-2]),
            ("indices", lambda values: np.full_like(values, 40)),
            ("indices", lambda values: -values - 1),
            ("data", lambda values: values[:-7]),
        ],
    )
    @pytest.mark.parametrize("form", ["csr", "csc"])
    def test_a_matrix_that_contradicts_itself_is_refused(self, name, change, form, place):
        cells = make_cells()
        cells.X = cells.X.asformat(form)
        cells.write_h5ad(place)
        with h5py.File(place, "r+") as file:
            values = file["X"][name][:]
            del file["X"][name]
            file["X"][name] = change(values)
        with pytest.raises(UserError, match="damaged"), open_cells(place) as found:
            list(checked_blocks(find_counts(found)))


class TestCommands:
    def test_models_prints_types_genes_scores_and_calibrated_precision(self, model_path, capsys):
        assert main(["models", str(model_path.parent), "--types"]) == 0
        output = capsys.readouterr().out
        for words in (
            "linear, 164 weights",
            "types:       4",
            "genes:       40, such as GENE0A (ENSG00000000000)",
            "credited macro F1 id 0.750",
            "0.9 calibrated on 8 new studies at s ≥ 0.8",
            "validation cells: 90% of the cells get an answer, 95.0% of the decided ones right",
            "8 new studies: 90% of the cells get an answer, 93.0% of the decided ones right",
            "lymphocyte\n└─ T cell\n   └─ CD4 T cell\nmonocyte",
        ):
            assert words in output
        assert main(["models", str(model_path.parent / "nothing")]) == 1

    def test_a_reader_that_leaves_early_is_no_error(self, model_path):
        reading, writing = os.pipe()
        os.close(reading)
        command = [sys.executable, "-m", "hce.cli", "models", str(model_path)]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, "")

    def test_explain_draws_the_probabilities_of_a_cell_and_of_a_type(
        self, cells, model_path, tmp_path, capsys
    ):
        cells.write_h5ad(tmp_path / "cells.h5ad")
        annotate(cells, model_path, probabilities=True)
        p = cells.obsm["hce_probabilities"]
        arguments = ["--model", str(model_path), "--cells", str(tmp_path / "cells.h5ad")]
        assert main(["explain", "cell1", *arguments]) == 0
        output = capsys.readouterr().out
        assert "cell1: one cell" in output
        assert f"s {p[1, :3].sum():6.1%}" in output
        assert main(["explain", "T cell", *arguments]) == 0
        of_type = p[np.isin(p.argmax(1), [1, 2])]
        output = capsys.readouterr().out
        assert f"T cell: mean of {len(of_type)} cells" in output
        assert f"s {of_type[:, :3].sum(1).mean():6.1%}" in output
        assert main(["explain", "CD4 T cell", "--model", str(model_path)]) == 0
        assert "below: lymphocyte, T cell" in capsys.readouterr().out
        counts = cells.X.tolil()
        counts[5] = 0
        ad.AnnData(counts.tocsr(), cells.obs, cells.var).write_h5ad(tmp_path / "cells.h5ad")
        assert main(["explain", "cell5", *arguments]) == 1
        assert "no counts of the model's genes" in capsys.readouterr().err
        assert main(["explain", "T cell", *arguments]) == 0
        assert f"T cell: mean of {len(of_type) - 1} cells" in capsys.readouterr().out
        assert main(["explain", "cell99", *arguments]) == 1
        assert "no cell 'cell99'" in capsys.readouterr().err

    def test_help_says_what_is_written_without_loading_torch(self):
        code = (
            "import sys, contextlib, hce.cli\n"
            "with contextlib.suppress(SystemExit): hce.cli.main(['annotate', '--help'])\n"
            "sys.exit('torch' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0
        assert "hce_back_off_cell_type_ontology_term_id" in done.stdout
        assert "examples:" in done.stdout
