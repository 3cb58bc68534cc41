"""Targets: numbered once, as defined, and refused where they are not known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from hce.errors import UserError
from hce.ontology import Hierarchy
from hce.ontology.targets import Targets
from hce.ontology.vocabularies import make_table, relate, restrict
from random_dags import dags_with_studies


def vocabularies(ontology, studies: dict[str, list[str]], cells: int = 3) -> pd.DataFrame:
    rows = [(study, term, cells) for study, terms in studies.items() for term in terms]
    table = pd.DataFrame(rows, columns=["study", "cl_id", "cells"])
    table["label"] = table["cl_id"].map(ontology.names)
    return make_table(table, ontology, "2023")


@settings(max_examples=100, deadline=None)
@given(dags_with_studies())
def test_every_label_of_a_study_has_the_row_of_its_restricted_reachability(case):
    ontology, hierarchy, studies = case
    targets = Targets.build(vocabularies(ontology, studies), hierarchy, ontology)
    index = {cl_id: i for i, cl_id in enumerate(hierarchy.types["cl_id"])}
    used = 0
    for study, terms in studies.items():
        restricted = restrict(hierarchy.reachability, *relate(terms, hierarchy, ontology))
        own = np.array([index[term] for term in terms if term in index], dtype=int)
        found = targets.of_cells("2023", pd.Series([study] * len(own), dtype=str), own)
        np.testing.assert_array_equal(targets.labels[found], own)
        np.testing.assert_array_equal(targets.answers[found], restricted[own])
        used += len(own)
    assert len(targets) == used


@pytest.fixture
def monocytes(slim) -> tuple[Hierarchy, pd.DataFrame]:
    """One study labels both monocytes, another the upper one alone."""
    terms = ["CL:0001054", "CL:0002396"]
    hierarchy = Hierarchy.build({term: slim.names[term] for term in terms}, slim)
    return hierarchy, vocabularies(slim, {"both": terms, "upper": terms[:1]})


def test_cd16_monocytes_are_no_answer_where_the_study_labels_them_itself(monocytes, slim):
    hierarchy, table = monocytes
    targets = Targets.build(table, hierarchy, slim)
    cd14, cd16 = (hierarchy.types["cl_id"].tolist().index(i) for i in ("CL:0001054", "CL:0002396"))
    both, upper = targets.of_cells("2023", pd.Series(["both", "upper"]), np.array([cd14, cd14]))
    assert hierarchy.reachability[cd14, cd16]
    assert not targets.answers[both, cd16]
    assert targets.answers[upper, cd16]
    mean = targets.mean_reachability(np.array([both, upper, upper]), hierarchy.reachability)
    assert mean[cd14, cd16] == 0.5
    assert mean[cd16].tolist() == hierarchy.reachability[cd16].tolist()  # no such cells: R


def test_rare_labels_restrict_nothing_and_keep_their_cells(monocytes, slim):
    hierarchy, table = monocytes
    targets = Targets.build(table, hierarchy, slim, min_cells=4)
    np.testing.assert_array_equal(targets.answers, hierarchy.reachability[targets.labels])
    assert len(targets) == 3


def test_a_renamed_type_is_found_by_its_id(monocytes, slim):
    hierarchy, table = monocytes
    renamed = table.assign(label=table["label"] + " of today")
    assert len(Targets.build(renamed, hierarchy, slim)) == 3


def test_targets_are_the_same_after_writing_and_reading(monocytes, slim, tmp_path):
    targets = Targets.build(monocytes[1], monocytes[0], slim)
    targets.save(tmp_path / "targets.npz")
    found = Targets.load(tmp_path / "targets.npz")
    assert found.studies == targets.studies
    for name in ("numbers", "labels", "answers"):
        np.testing.assert_array_equal(getattr(found, name), getattr(targets, name))


def test_targets_of_several_releases_are_numbered_through(monocytes, slim, tmp_path):
    hierarchy, table = monocytes
    paths = []
    for release in ("2023", "2024"):
        paths.append(tmp_path / f"{release}.npz")
        Targets.build(table.assign(release=release), hierarchy, slim).save(paths[-1])
    one, both = Targets.load(paths[0]), Targets.load(*paths)
    assert len(both) == 2 * len(one)
    for row, (_, study) in enumerate(one.studies):
        own = np.flatnonzero(one.numbers[row] >= 0)
        studies = pd.Series([study] * len(own))
        first, second = (both.of_cells(release, studies, own) for release in ("2023", "2024"))
        np.testing.assert_array_equal(second, first + len(one))
        np.testing.assert_array_equal(both.answers[second], both.answers[first])
        np.testing.assert_array_equal(both.labels[second], own)


def test_without_studies_a_target_is_its_label(hierarchy):
    targets = Targets.unrestricted(hierarchy.reachability)
    assert targets.labels.tolist() == list(range(164))
    np.testing.assert_array_equal(targets.answers, hierarchy.reachability)


def test_another_reachability_only_takes_answers_away(monocytes, slim):
    hierarchy, table = monocytes
    targets = Targets.build(table, hierarchy, slim)
    none = targets.within(np.eye(2, dtype=bool))
    assert none.answers.sum() == len(targets)
    same = targets.within(np.ones((2, 2), dtype=bool))
    np.testing.assert_array_equal(same.answers, targets.answers)


@pytest.mark.parametrize(
    ("release", "study"), [("2024", "both"), ("2023", "third"), ("2023", None)]
)
def test_cells_that_no_vocabulary_has_are_refused(monocytes, slim, release, study):
    targets = Targets.build(monocytes[1], monocytes[0], slim)
    with pytest.raises(UserError, match="The vocabularies of release"):
        targets.of_cells(release, pd.Series([study], dtype=object), np.array([0]))


def test_a_label_that_a_study_lacks_is_refused(monocytes, slim):
    targets = Targets.build(monocytes[1], monocytes[0], slim)
    with pytest.raises(UserError, match="of study upper with the type number 0"):
        targets.of_cells("2023", pd.Series(["upper"]), np.array([0]))
