"""Messages for files that cannot be opened: each names the fault and what to do."""

import fcntl
import gzip
import zipfile

import h5py
import pytest

from annotators import make_cells
from foreign_cells import tenx_folder, tenx_folder_v2
from hce.errors import UserError
from hce.inputs.cells import open_cells


def refused(path) -> str:
    with pytest.raises(UserError) as error, open_cells(path):
        pass
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def source(tmp_path):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def test_a_locked_file(source):
    with open(source, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        message = refused(source)
    assert "is locked" in message
    assert "HDF5_USE_FILE_LOCKING=FALSE" in message


def test_a_file_that_may_not_be_read(source, monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")  # root may read everything

    monkeypatch.setattr(h5py, "File", forbidden)
    assert "may not be read by this user" in refused(source)


def test_a_compressed_file_and_an_archive(source, tmp_path):
    packed = tmp_path / "cells.h5ad.gz"
    packed.write_bytes(gzip.compress(source.read_bytes()))
    assert "compressed with gzip: unpack it with gunzip" in refused(packed)
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        archive.write(source)
    assert "zip archive" in refused(tmp_path / "cells.zip")


def test_files_of_several_modalities_and_loom(tmp_path):
    with h5py.File(tmp_path / "cells.h5mu", "w") as file:
        file.create_group("mod/rna")
        file.create_group("mod/prot")
        file.create_group("obs")
    message = refused(tmp_path / "cells.h5mu")
    assert "modalities prot, rna" in message
    assert "mod['rna'].write_h5ad" in message
    with h5py.File(tmp_path / "cells.loom", "w") as file:
        file["matrix"] = [[1, 2]]
        file.create_group("row_attrs")
    assert "loom file" in refused(tmp_path / "cells.loom")


def test_folders_of_other_things(tmp_path):
    (tmp_path / "results").mkdir()
    assert "neither a zarr folder nor one of 10x" in refused(tmp_path / "results")


@pytest.mark.parametrize("missing", ["barcodes", "features"])
def test_a_10x_folder_that_lacks_a_file(missing, tmp_path):
    folder = tenx_folder(make_cells(), tmp_path)
    (folder / f"{missing}.tsv.gz").unlink()
    assert f"no file {missing}.tsv" in refused(folder)


def test_a_10x_folder_of_two_samples_and_one_of_other_sizes(tmp_path):
    folder = tenx_folder_v2(make_cells(), tmp_path)
    barcodes = folder / "GSM1_barcodes.tsv"
    whole = barcodes.read_text()
    barcodes.write_text(whole + "another\n")
    assert "31 barcodes and 40 features, but its matrix is 40 by 30" in refused(folder)
    barcodes.write_text(whole)
    (folder / "GSM2_matrix.mtx").write_text("")
    assert "several files matrix.mtx" in refused(folder)
