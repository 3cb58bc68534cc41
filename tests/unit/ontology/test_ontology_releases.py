"""Ontology releases: terms that were renamed, merged or made obsolete, and mirrors."""

import gzip
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from hce.curation.select import TypeCriteria, select_types
from hce.errors import UserError
from hce.ontology import Hierarchy, describe_terms, read_ontology
from local_server import files_of, serving


def obo(*terms: str) -> str:
    return "format-version: 1.2\ndata-version: test\n\n" + "\n\n".join(
        "[Term]\n" + term.replace("; ", "\n") for term in terms
    )


# 1 > 2 > 3, 1 > 4; 9 was replaced by 8, which was replaced by 2; 7 was merged into 3.
TERMS = [
    "id: CL:0000001; name: cell",
    "id: CL:0000002; name: lymphocyte; is_a: CL:0000001 ! cell",
    "id: CL:0000003; name: T cell; alt_id: CL:0000007; is_a: CL:0000002 ! lymphocyte",
    "id: CL:0000004; name: neuron; is_a: CL:0000001 ! cell",
    "id: CL:0000009; name: obsolete lymph cell; is_obsolete: true; replaced_by: CL:0000008",
    "id: CL:0000008; name: obsolete lymphoid; is_obsolete: true; replaced_by: CL:0000002",
    "id: CL:0000010; name: obsolete nerve cell; is_obsolete: true; consider: CL:0000004",
    "id: CL:0000011; name: obsolete a or b; is_obsolete: true; consider: CL:0000003; "
    "consider: CL:0000004",
    "id: CL:0000012; name: obsolete loop; is_obsolete: true; replaced_by: CL:0000013",
    "id: CL:0000013; name: obsolete pool; is_obsolete: true; replaced_by: CL:0000012",
]


@pytest.fixture(params=["cl.obo", "cl.obo.gz"])
def ontology(request, tmp_path):
    content = obo(*TERMS).encode()
    file = tmp_path / request.param
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return read_ontology(file)


def test_obsolete_and_merged_ids_lead_to_the_current_one(ontology):
    expected = {
        **{f"CL:000000{i}": f"CL:000000{i}" for i in (1, 2, 3, 4)},
        "CL:0000007": "CL:0000003",
        "CL:0000008": "CL:0000002",
        "CL:0000009": "CL:0000002",
        "CL:0000010": "CL:0000004",  # one suggestion is followed
        "CL:0000011": None,  # of two, neither
        "CL:0000012": None,
        "CL:0000013": None,
        "CL:0000099": None,
    }
    assert {term: ontology.current(term) for term in expected} == expected
    assert len(ontology.names) == 4


def test_the_report_says_what_became_of_each_term(ontology):
    labels = {
        "CL:0000002": "lymphocyte",
        "CL:0000004": "nerve cell",
        "CL:0000007": "T lymphocyte",
        "CL:0000009": "lymph cell",
        "CL:0000011": "a or b",
        "unknown": "unknown",
    }
    table = describe_terms(labels, ontology).set_index("cl_id")
    assert table["label"].to_dict() == labels
    assert table["status"].to_dict() == {
        "CL:0000002": "current",
        "CL:0000004": "renamed",
        "CL:0000007": "replaced",
        "CL:0000009": "replaced",
        "CL:0000011": "obsolete",
        "unknown": "missing",
    }
    assert table.loc["CL:0000004", "name"] == "neuron"
    assert table.loc["CL:0000009", "name"] == "obsolete lymph cell"
    assert table.loc["CL:0000009", "replacement"] == "CL:0000002"
    assert table["replacement"].notna().sum() == 2


def test_a_replaced_type_is_related_as_its_replacement_and_keeps_its_label(ontology):
    old = Hierarchy.build({"CL:0000009": "lymph cell", "CL:0000007": "T cell"}, ontology)
    new = Hierarchy.build({"CL:0000002": "lymph cell", "CL:0000003": "T cell"}, ontology)
    assert old.labels == new.labels == ["T cell", "lymph cell"]
    assert old.types["cl_id"].tolist() == ["CL:0000007", "CL:0000009"]
    np.testing.assert_array_equal(old.reachability, new.reachability)
    assert old.reachability[1, 0]
    for column in ("kind", "connected", "depth", "n_ancestors"):
        assert old.types[column].tolist() == new.types[column].tolist()
    assert old.types["parents"].tolist() == [["CL:0000009"], []]


def test_two_types_that_became_one_term_are_named(ontology):
    with pytest.raises(UserError, match=r"CL:0000002 \(a\) and CL:0000009 \(b\) are the same term"):
        Hierarchy.build({"CL:0000002": "a", "CL:0000009": "b"}, ontology)


def test_an_obsolete_type_without_one_replacement_is_named(ontology):
    with pytest.raises(UserError, match=r"no current term CL:0000011 \(a or b\)"):
        Hierarchy.build({"CL:0000002": "a", "CL:0000011": "a or b"}, ontology)


def release_cells(types: dict[str, str]) -> pd.DataFrame:
    rows = [(term, label, f"d{i}") for term, label in types.items() for i in range(4)]
    cells = pd.DataFrame(rows, columns=["cell_type_ontology_term_id", "cell_type", "donor_id"])
    return cells.assign(dataset_id="s").astype("category")


def test_curation_follows_obsolete_types_and_an_obsolete_root(ontology, caplog):
    cells = release_cells(
        {"CL:0000009": "lymph cell", "CL:0000003": "T cell", "CL:0000004": "neuron"}
    )
    chosen, _ = select_types(cells, ontology, TypeCriteria("CL:0000001", 1, 1, 0))
    assert chosen["cl_id"].tolist() == ["CL:0000003", "CL:0000009", "CL:0000004"]
    assert not caplog.records
    below, _ = select_types(
        release_cells({"CL:0000003": "T cell", "CL:0000007": "x", "CL:0000004": "neuron"}),
        ontology,
        TypeCriteria("CL:0000008", 1, 1, 0),
    )
    assert below["cl_id"].tolist() == ["CL:0000003", "CL:0000007"]
    assert "curation.root CL:0000008 is obsolete" in caplog.text
    assert "CL:0000002 (lymphocyte)" in caplog.text


def test_a_root_that_is_no_term_is_named(ontology):
    cells = release_cells({"CL:0000003": "T cell"})
    with pytest.raises(UserError, match=r"no current term CL:0000099: change curation\.root"):
        select_types(cells, ontology, TypeCriteria("CL:0000099", 1, 1, 0))


def test_a_later_release_relates_the_164_types_in_the_same_way(hierarchy, repository, tmp_path):
    """As from 2023-09 on: native cell is obsolete, and some types are renamed or replaced."""
    text = (repository / "resources/ontology/cl-slim.obo").read_text()
    header, *stanzas = text.strip().split("\n\n")
    moved = "CL:0000084"
    later = [header]
    for stanza in stanzas:
        lines = stanza.splitlines()
        if "id: CL:0000003" in lines:
            lines = ["[Term]", "id: CL:0000003", "name: obsolete native cell"]
            lines += ["is_obsolete: true", "replaced_by: CL:0000000"]
        lines = [line.replace("is_a: CL:0000003", "is_a: CL:0000000") for line in lines]
        later.append("\n".join(lines).replace(moved, "CL:9900084"))
    later.append(f"[Term]\nid: {moved}\nname: obsolete T cell\nis_obsolete: true\n")
    later[-1] += "replaced_by: CL:9900084"
    (tmp_path / "later.obo").write_text("\n\n".join(later) + "\n")
    ontology = read_ontology(tmp_path / "later.obo")
    labels = dict(zip(hierarchy.types["cl_id"], hierarchy.types["label"], strict=True))
    found = Hierarchy.build(labels, ontology)
    assert ontology.current("CL:0000003") == "CL:0000000"
    np.testing.assert_array_equal(found.reachability, hierarchy.reachability)
    assert found.types["cl_id"].tolist() == hierarchy.types["cl_id"].tolist()


def test_the_real_release_has_replacements_and_the_164_types_are_current(real_data, hierarchy):
    ontology = read_ontology(real_data / "ontology/cl-simple-2022-12-15.obo.gz")
    assert len(ontology.obsolete) > 30
    assert set(ontology.replaced.values()) <= set(ontology.names)
    assert not ontology.replaced.keys() & ontology.names.keys()
    labels = dict(zip(hierarchy.types["cl_id"], hierarchy.types["label"], strict=True))
    assert set(describe_terms(labels, ontology)["status"]) <= {"current", "renamed"}


@pytest.fixture
def mirror(tmp_path):
    """A folder of releases, served over HTTP."""

    folder = tmp_path / "mirror"
    folder.mkdir()
    with serving(files_of(folder)) as address:
        yield folder, f"{address}/cl/"


def test_releases_lie_side_by_side_and_are_held_to_their_first_checksum(
    mirror, repository, tmp_path
):
    served, base_url = mirror
    place = tmp_path / "place"
    place.mkdir()
    for name in ("Snakefile", "workflow", "scripts", "config"):
        (place / name).symlink_to(repository / name)
    shipped = "resources/ontology/cell_types_164.tsv"  # beside which releases are downloaded
    (place / shipped).parent.mkdir(parents=True)
    (place / shipped).symlink_to(repository / shipped)
    tags = {"v2023-05-22": obo(*TERMS[:4]), "v2024-01-04": obo(*TERMS[:3])}
    for tag, content in tags.items():
        (served / "cl" / tag).mkdir(parents=True)
        (served / "cl" / tag / "cl-simple.obo").write_text(content)
    (place / "x.yaml").write_text(
        yaml.safe_dump({"ontology": {"base_url": base_url}, "curation": {"expected_types": None}})
    )
    files = [f"resources/ontology/{tag}/cl-simple.obo" for tag in tags]

    def run():
        command = [sys.executable, "-m", "snakemake", *files, "--cores", "1", "--retries", "0"]
        return subprocess.run(
            [*command, "--configfile", "x.yaml"],
            cwd=place,
            capture_output=True,
            text=True,
        )

    done = run()
    assert done.returncode == 0, done.stderr
    for file, content in zip(files, tags.values(), strict=True):
        assert (place / file).read_text() == content
        assert (place / f"{file}.sha256").is_file()

    (place / files[0]).unlink()
    (served / "cl" / "v2023-05-22" / "cl-simple.obo").write_text(obo(*TERMS))
    done = run()
    assert done.returncode != 0
    assert "cl-simple.obo.sha256 says" in done.stdout + done.stderr
    assert not (place / files[0]).exists()
    assert (place / files[1]).exists()
