import errno
import logging
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from fake_job import fake_job
from hce.curation.gene_list import read_gene_names
from hce.errors import UserError
from hce.files import (
    HOST,
    atomic_path,
    create_once,
    read_parquet,
    read_tsv,
    scratch_folder,
    write_tsv,
)
from hce.jobs.job import job


def fail_halfway(path):
    path.write_text("half")
    raise OSError("disk full")


WRITERS = """
import resource, sys
from pathlib import Path
import numpy as np
import pandas as pd
import torch
from hce.files import atomic_path, write_tsv
from hce.models.trained_model import save_model
from hce.ontology import Hierarchy
from hce.training.checkpoint import Checkpoint

folder = Path(sys.argv[1])
large = np.random.default_rng(0).random((300, 1000))
names = [str(i) for i in range(300)]
types = pd.DataFrame({"cl_id": names, "label": names})
hierarchy = Hierarchy(types, np.eye(300, dtype=bool))
genes = pd.DataFrame({"feature_id": names, "feature_name": names})
spec = {"class": "linear", "arguments": {}}
weights = {"weight": torch.from_numpy(large)}

def save_array(path):
    with atomic_path(path) as temporary:
        np.save(temporary, large)

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
for name, write in (
    ("model.pt", lambda path: save_model(path, spec, spec, weights, genes, hierarchy, {})),
    ("resume.pt", lambda path: Checkpoint(path, "", 1.0).save(weights)),
    ("vectors.npy", save_array),
    ("table.tsv", lambda path: write_tsv(pd.DataFrame(large), path)),
):
    try:
        write(folder / name)
    except Exception as error:
        print(type(error).__name__, str(error).replace(str(folder), "HERE"))
"""


def test_a_disk_that_fills_is_one_sentence_whoever_writes(tmp_path):
    command = [sys.executable, "-c", WRITERS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = ("model.pt", "resume.pt", "vectors.npy", "table.tsv")
    sentences = done.stdout.splitlines()
    assert len(sentences) == len(names)
    for name, sentence in zip(names, sentences, strict=True):
        assert sentence.startswith(f"UserError There is no space left for HERE/{name} (")
    assert list(tmp_path.iterdir()) == []


def stop_halfway(path):
    path.touch()
    os.kill(os.getpid(), signal.SIGTERM)


def fail_halfway_in_folder(path):
    path.mkdir()
    fail_halfway(path / "a")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "t.tsv"
    target.write_text("old")
    with pytest.raises(OSError, match="disk full"), atomic_path(target) as temporary:
        fail_halfway(temporary)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["t.tsv"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for content in ("a", "b"):
        with atomic_path(tmp_path / "d") as temporary:
            temporary.mkdir()
            (temporary / content).touch()
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["b"]
    with pytest.raises(OSError, match="disk full"), atomic_path(tmp_path / "d") as temporary:
        fail_halfway_in_folder(temporary)
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_what_a_dead_process_of_this_machine_left_is_cleared_by_the_next_write(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".a[1].tsv.{HOST}.{dead.pid}.partial.tsv"
    alike = tmp_path / f".a1.tsv.{HOST}.{dead.pid}.partial.tsv"
    for path in (left, alike):
        path.mkdir()
    with scratch_folder(tmp_path / "a[1].tsv") as folder:
        assert folder.is_dir()
        assert not left.exists()
    assert [*tmp_path.iterdir()] == [alike]
    left.write_text("half")
    with atomic_path(tmp_path / "a[1].tsv") as temporary:
        temporary.touch()
    assert sorted(tmp_path.iterdir()) == [alike, tmp_path / "a[1].tsv"]


def test_what_an_earlier_process_of_the_same_number_left_is_no_start(tmp_path):
    left = tmp_path / f".a.{HOST}.{os.getpid()}.partial"
    left.mkdir()
    (left / "old").touch()
    with atomic_path(tmp_path / "a") as temporary:
        temporary.mkdir()
    assert [*(tmp_path / "a").iterdir()] == []


def test_a_file_made_once_is_on_disk_before_its_name_is_seen(tmp_path, monkeypatch):
    done, link, fsync = [], os.link, os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (done.append("fsync"), fsync(number)))
    monkeypatch.setattr(os, "link", lambda *paths: (done.append("link"), link(*paths)))
    assert create_once(tmp_path / "a", "first")
    assert not create_once(tmp_path / "a", "second")
    assert done == ["fsync", "link"] * 2
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "first")]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_is_made_once_on_a_disk_without_hard_links(number, tmp_path, monkeypatch):
    def link(*paths):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    assert create_once(tmp_path / "a", "first")
    assert not create_once(tmp_path / "a", "second")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "first")]


def test_a_table_comes_back_with_its_missing_values_and_a_label_called_none(tmp_path):
    table = pd.DataFrame({"label": ["None", "nan"], "value": [1 / 3, np.nan]})
    write_tsv(table, tmp_path / "t.tsv")
    found = read_tsv(tmp_path / "t.tsv")
    assert found["label"].tolist() == ["None", "nan"]
    assert found["value"][0] == pytest.approx(1 / 3, rel=1e-8)
    assert np.isnan(found["value"][1])


@pytest.fixture
def fake(tmp_path):
    yield fake_job("x", tmp_path / "logs/x.log")
    for handler in logging.getLogger().handlers[:]:
        if isinstance(handler, logging.FileHandler):
            logging.getLogger().removeHandler(handler)
            handler.close()
    logging.captureWarnings(False)


def test_a_users_mistake_ends_in_one_sentence_without_traceback(fake, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_, job(fake):
        raise UserError("File a.tsv lacks b.")
    assert exit_.value.code == 1
    assert capsys.readouterr().err == "Error in x: File a.tsv lacks b.\n"
    log = (tmp_path / "logs/x.log").read_text()
    assert "File a.tsv lacks b." in log
    assert "Traceback" not in log


def test_a_job_clears_what_any_machine_left_of_its_outputs(fake, tmp_path):
    left = tmp_path / ".a.tsv.another-host.7.partial.tsv"
    left.touch()
    fake.output = [str(tmp_path / "a.tsv")]
    with job(fake):
        pass
    assert not left.exists()


def test_a_job_that_is_told_to_stop_leaves_nothing_half_written(fake, tmp_path, capsys):
    with pytest.raises(SystemExit), job(fake), atomic_path(tmp_path / "a.tsv") as temporary:
        stop_halfway(temporary)
    assert capsys.readouterr().err == "Error in x: the job was stopped.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_programming_error_leaves_its_traceback_in_the_log(fake, tmp_path, capsys):
    with pytest.raises(SystemExit), job(fake):
        raise ZeroDivisionError("oops")
    assert "ZeroDivisionError: oops (traceback in" in capsys.readouterr().err
    assert "Traceback" in (tmp_path / "logs/x.log").read_text()


@pytest.mark.parametrize("form", ["txt", "tsv", "parquet"])
def test_gene_names_are_read_from_any_of_three_formats(form, tmp_path):
    path = tmp_path / f"genes.{form}"
    table = pd.DataFrame({"feature_name": ["A", "NA", "B"]})
    if form == "txt":
        path.write_text("A\nNA\nB\n")
    elif form == "tsv":
        table.to_csv(path, sep="\t", index=False)
    else:
        table.rename(columns={"feature_name": "gene_names"}).to_parquet(path)
    assert read_gene_names(path)[0] == "A"
    assert len(read_gene_names(path)) == 3


def test_the_published_gene_list_has_19357_names(real_data):
    assert len(read_gene_names(real_data / "protein_coding_features.parquet")) == 19357


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "cannot be read"),
        ("empty.txt", "", "is empty"),
        ("odd.tsv", "a\tb\n1\t2\n", "no column feature_name"),
    ],
)
def test_a_gene_list_that_is_none_is_named(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_gene_names(tmp_path / name)


def test_names_that_look_like_numbers_stay_names(tmp_path):
    table = pd.DataFrame({"release": ["2024.10"], "study": ["001"], "cells": [3]})
    write_tsv(table, tmp_path / "table.tsv")
    assert read_tsv(tmp_path / "table.tsv").equals(table)


def test_a_table_is_read_without_a_file_of_python_that_a_thread_may_outlive(tmp_path, monkeypatch):
    table = pd.DataFrame({"a": [1, 2], "b": pd.Categorical(["x", "y"])})
    table.to_parquet(tmp_path / "table.parquet", index=False)
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", fail_halfway)
        assert read_parquet(tmp_path / "table.parquet").equals(table)
        assert read_parquet(tmp_path / "table.parquet", ["a"]).equals(table[["a"]])
