"""Fixtures that several tests of the sources share."""

import pytest

from h5ad_folder import Folder


@pytest.fixture
def ontology(slim):
    return slim


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)
