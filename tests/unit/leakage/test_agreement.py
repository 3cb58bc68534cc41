"""Agreement of studies on the same cells, on a simulated release with planted re-annotations."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from hce.census.labels import LabelCounts
from hce.census.release import open_release, read_cells
from hce.errors import UserError
from hce.files import read_tsv
from hce.leakage.agreement import (
    RELATIONS,
    agreement_table,
    find_candidates,
    pair_labels,
    relate_pairs,
    same_cells,
    score_pairs,
)
from hce.ontology import Hierarchy, read_ontology
from hce.ontology.targets import Targets
from hce.ontology.vocabularies import make_table
from hce.sources.simulation import simulate_release, simulated_genes
from hce.sources.simulation_design import SimulationSettings
from hce.sources.soma import HUMAN, MOUSE, Study, write_census
from random_dags import credit_one_by_one

RESOURCES = Path(__file__).parents[3] / "resources" / "ontology"
RELEASES = ["2023-05-15", "2024-07-01"]
RELEASE = RELEASES[1]
ORIGINAL, AGAIN = "simulated-study-03", "re-annotated"
SETTINGS = SimulationSettings(
    genes=80, studies=6, new_studies=2, cells_per_study=600, types_per_study=30, copied_cells=0
)


@pytest.fixture(scope="module")
def ontology():
    return read_ontology(RESOURCES / "cl-slim.obo")


@pytest.fixture(scope="module")
def types() -> pd.DataFrame:
    return read_tsv(RESOURCES / "cell_types_164.tsv")


@pytest.fixture(scope="module")
def hierarchy(ontology, types) -> Hierarchy:
    return Hierarchy.build(dict(zip(types["cl_id"], types["label"], strict=True)), ontology)


def annotate_again(study: Study, ontology, types: pd.DataFrame) -> Study:
    """The cells of a study by another author, who has a coarser label for nearly half of the types,
    and for some cells quite another one. A twentieth of the cells has other counts."""
    rng = np.random.default_rng(5)
    names = dict(zip(types["cl_id"], types["label"], strict=True))
    others = rng.choice(list(names), 3, replace=False)
    coarser = {}
    for term in study.obs["cell_type_ontology_term_id"].unique():
        above = sorted(set(ontology.ancestors(term)) & set(names))
        coarser[term] = rng.choice(above) if above and rng.random() < 0.7 else term
    terms = [
        rng.choice(others) if rng.random() < 0.15 else coarser[term]
        for term in study.obs["cell_type_ontology_term_id"]
    ]
    counts = study.counts.copy().tolil()
    changed = np.flatnonzero(rng.random(len(study.obs)) < 0.05)
    counts[changed, 0] = counts[changed, 0].toarray() + 1
    obs = study.obs.assign(
        cell_type_ontology_term_id=terms,
        cell_type=[names.get(term, ontology.names[term]) for term in terms],
        is_primary_data=False,
        unchanged=~np.isin(np.arange(len(terms)), changed),
    )
    return Study(AGAIN, AGAIN, "c", "c", "", obs, counts.tocsr())


@pytest.fixture(scope="module")
def planted(ontology, types, tmp_path_factory):
    """The release's address, and the two labels of each cell that is there twice."""
    studies = list(simulate_release(SETTINGS, ontology, types, RELEASES, RELEASE))
    # Deposits of the same cells with the same labels would be found as well.
    studies = [study for study in studies if "redeposit" not in study.dataset_id]
    original = next(study for study in studies if study.dataset_id == ORIGINAL)
    again = annotate_again(original, ontology, types)
    twice = replace(studies[0], counts=studies[0].counts[[0, 0]], obs=studies[0].obs.iloc[[0, 0]])
    uri = str(tmp_path_factory.mktemp("census") / RELEASE)
    within_one_study = replace(twice, dataset_id="twice", title="twice")
    others = [s for s in studies if s is not studies[0]] + [within_one_study]
    genes = simulated_genes(SETTINGS, RELEASES, RELEASE)
    # Of the other study, one of the shared cells is there twice; it counts once.
    rows = [*range(len(again.obs)), int(np.flatnonzero(again.obs["unchanged"])[0])]
    stored = replace(
        again, obs=again.obs.drop(columns="unchanged").iloc[rows], counts=again.counts[rows]
    )
    write_census(uri, RELEASE, [*others, stored], {k: genes[k] for k in (HUMAN, MOUSE)})
    kept = again.obs["unchanged"].to_numpy()
    column = "cell_type_ontology_term_id"
    truth = pd.DataFrame({"a": original.obs[column].to_numpy(), "b": again.obs[column].to_numpy()})
    return uri, truth[kept].reset_index(drop=True)


@pytest.fixture(scope="module")
def found(planted, ontology, hierarchy, tmp_path_factory):
    """The pairs, their relations, and the table."""
    uri, _ = planted
    labels = LabelCounts()
    with open_release(RELEASE, uri) as release:
        path = tmp_path_factory.mktemp("cells") / "c.parquet"
        read_cells(release, ["10x 3' v2", "10x 3' v3"], path, labels=labels)
        pairs = pair_labels(same_cells(release, find_candidates(release)))
    vocabularies = make_table(labels.table(), ontology, RELEASE)
    targets = Targets.build(vocabularies, hierarchy, ontology)
    counts = score_pairs(pairs, RELEASE, hierarchy, targets)
    relations = relate_pairs(pairs, ontology)
    table = agreement_table(pairs, relations, counts, hierarchy)
    return pairs, table, vocabularies


def test_the_cells_that_two_studies_have_are_found_and_no_others(planted, found):
    _, truth = planted
    pairs, table, _ = found
    assert set(pairs["study"]) == {ORIGINAL, AGAIN}
    assert pairs["cell"].nunique() == len(truth)
    assert table["cells"].iloc[0] == len(truth)
    one = pairs[pairs["study"] == ORIGINAL]
    wanted = sorted(zip(truth["a"], truth["b"], strict=True))
    assert sorted(zip(one["label"], one["answer"], strict=True)) == wanted


def test_shares_of_agreement_are_those_that_were_planted(planted, found, ontology):
    _, truth = planted
    exact = (truth["a"] == truth["b"]).mean()
    above = np.mean(
        [
            a != b and (a in ontology.ancestors(b) or b in ontology.ancestors(a))
            for a, b in truth.itertuples(index=False)
        ]
    )
    row = found[1].iloc[0]
    shares = [row[name] for name in RELATIONS]
    assert shares == pytest.approx([exact, above, 1 - exact - above], abs=1e-9)
    assert min(shares) > 0.1


def test_the_ceiling_of_each_score_is_that_of_the_planted_labels(
    planted, found, hierarchy, ontology
):
    _, truth = planted
    _, table, vocabularies = found
    index = {cl_id: i for i, cl_id in enumerate(hierarchy.types["cl_id"])}
    both = pd.concat([truth.assign(study=ORIGINAL), truth.assign(study=AGAIN)])
    both.loc[both["study"] == AGAIN, ["a", "b"]] = both.loc[
        both["study"] == AGAIN, ["b", "a"]
    ].to_numpy()
    both = both[both["a"].isin(index) & both["b"].isin(index)]
    label, answer = (both[name].map(index).to_numpy() for name in ("a", "b"))
    used = vocabularies.groupby("study")["cl_id"].agg(set)

    def left_by_study(study: str, a: str, b: str) -> bool:
        """b is a or below it, and the study labels nothing between them or b itself."""
        finer = {t for t in used[study] if t != a and a in ontology.ancestors(t)}
        return a == b or not any(t == b or t in ontology.ancestors(b) for t in finer)

    credited = credit_one_by_one(label, answer, hierarchy.reachability)
    left = [left_by_study(*row) for row in both[["study", "a", "b"]].itertuples(index=False)]
    study_aware = np.where((credited == label) & np.array(left), label, answer)
    predictions = {"credited": credited, "study_aware": study_aware, "exact": answer}
    row = table.iloc[0]
    for kind, predicted in predictions.items():
        wanted = f1_score(label, predicted, labels=np.unique(label), average="macro")
        assert abs(row[f"{kind}_f1"] - wanted) < 0.02  # the promise
        assert row[f"{kind}_f1"] == pytest.approx(wanted, abs=1e-9)
    assert row["exact_f1"] < row["study_aware_f1"] < row["credited_f1"]


def test_each_type_has_a_row_with_its_own_ceiling(planted, found):
    _, truth = planted
    rows = found[1].iloc[1:].set_index("cl_id")
    label = truth["a"].value_counts().idxmax()
    of_label = pd.concat([truth.loc[truth["a"] == label, "b"], truth.loc[truth["b"] == label, "a"]])
    assert rows.loc[label, "pairs"] == len(of_label)
    assert rows.loc[label, "exact"] == pytest.approx((of_label == label).mean())


def test_a_release_without_the_statistics_is_told_which_ones_have_them(ontology, types, tmp_path):
    old = RELEASES[0]
    studies = [
        study
        for study in simulate_release(SETTINGS, ontology, types, RELEASES, old)
        if study.organism == HUMAN
    ]
    write_census(tmp_path / old, old, studies[:1], simulated_genes(SETTINGS, RELEASES, old))
    with (
        open_release(old, str(tmp_path / old)) as release,
        pytest.raises(UserError, match=r"has no column nnz in obs.*from 2023-12-15 on"),
    ):
        find_candidates(release)
