import logging

import numpy as np
import pandas as pd
import pytest

from fake_job import fake_job
from hce.curation.gene_list import read_gene_names
from hce.errors import UserError
from hce.files import atomic_path, read_tsv, write_tsv
from hce.jobs.job import job


def fail_halfway(path):
    path.write_text("half")
    raise OSError("disk full")


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
