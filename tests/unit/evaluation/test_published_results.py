"""The authors' files of predictions, written here in their layout, and scored."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from hce.errors import UserError
from hce.evaluation.published_results import (
    SAME,
    read_own_cells,
    read_results,
    score_file,
)
from hce.ontology import Hierarchy
from hce.ontology.targets import Targets
from hce.ontology.vocabularies import make_table
from random_dags import credit_one_by_one

RELEASE = "2023-12-15"
LABELS = ["B cell", "T cell", "CD4-positive, alpha-beta T cell", "naive B cell", "platelet"]
N = 400


@pytest.fixture(scope="module")
def small(slim) -> Hierarchy:
    """Five types, in code-point order of their labels."""
    ids = {label: cl_id for cl_id, label in slim.names.items()}
    return Hierarchy.build({ids[label]: label for label in LABELS}, slim)


@pytest.fixture(scope="module")
def targets(small, slim) -> Targets:
    """Study s labels all types, study t no finer one beside B cell."""
    types = small.types
    rows = [
        (study, row.cl_id, row.label, 5)
        for study in ("s", "t")
        for row in types.itertuples()
        if study == "s" or row.label != "naive B cell"
    ]
    counts = pd.DataFrame(rows, columns=["study", "cl_id", "label", "cells"])
    return Targets.build(make_table(counts, slim, RELEASE), small, slim)


@pytest.fixture
def own(small) -> pd.DataFrame:
    """The cells of the run's OOD set."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, len(LABELS), N).astype(np.int16)
    study = np.where(label == small.labels.index("naive B cell"), "s", rng.choice(["s", "t"], N))
    return pd.DataFrame({"soma_joinid": np.arange(N) * 3 + 7, "label": label, "study": study})


@pytest.fixture
def theirs(own, small) -> pd.DataFrame:
    """The same cells as the paper's code writes them, in another order."""
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(len(LABELS)), N).astype(np.float32)
    names = np.array(small.labels)
    table = pd.DataFrame(
        {
            "y_true": names[own["label"]],
            "y_pred": names[probabilities.argmax(axis=1)],
            "cell_type": names[own["label"]],
            "soma_joinid": own["soma_joinid"],
            "assay": "10x 3' v3",
            "dataset_id": own["study"],
            "y_probs": list(probabilities),
        }
    )
    return table.sample(frac=1, random_state=2)


@pytest.fixture
def score(own, small, targets, tmp_path):
    """Scores a table as a file: score → value, and how its cells compare."""

    def run(table: pd.DataFrame) -> tuple[dict[str, float], str]:
        table.to_parquet(tmp_path / "mlp_detailed_results.parquet", index=False)
        path = tmp_path / "mlp_detailed_results.parquet"
        found = score_file(path, own, RELEASE, small, targets)
        assert (found["cells"] == len(table)).all()
        return dict(zip(found["score"], found["value"], strict=True)), found["compared"].iloc[0]

    return run


def wanted_of(table: pd.DataFrame, hierarchy: Hierarchy) -> dict[str, float]:
    """Macro F1 by scikit-learn, the study-aware one from its definition."""
    index = {label: i for i, label in enumerate(hierarchy.labels)}
    label, answer = (table[name].map(index).to_numpy() for name in ("y_true", "y_pred"))
    reach = hierarchy.reachability
    contradicted = (
        (table["dataset_id"] == "s") | (table["y_pred"] != "naive B cell")
    ).to_numpy() & (label != answer)
    predictions = {
        "credited": credit_one_by_one(label, answer, reach),
        "study_aware": np.where(reach[label, answer] & ~contradicted, label, answer),
        "exact": answer,
    }
    return {
        f"{kind}_macro_f1": f1_score(label, p, average="macro", labels=np.unique(label))
        for kind, p in predictions.items()
    }


def test_all_three_scores_of_the_same_cells_are_those_of_scikit_learn(score, theirs, small):
    found, told = score(theirs)
    wanted = wanted_of(theirs, small)
    assert len(set(wanted.values())) == 3
    assert told == SAME
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=1e-12)
    assert found["exact_accuracy"] == (theirs["y_true"] == theirs["y_pred"]).mean()


@pytest.mark.parametrize("case", ["fewer", "more", "another label", "twice"])
def test_with_other_cells_or_labels_there_is_no_study_aware_score(case, score, theirs, small):
    table = {
        "fewer": theirs.iloc[:-3],
        "more": pd.concat([theirs, theirs.iloc[:2].assign(soma_joinid=[1, 2])]),
        "another label": theirs.assign(y_true=["platelet", *theirs["y_true"].iloc[1:]]),
        "twice": pd.concat([theirs, theirs.iloc[:1]]),
    }[case]
    found, told = score(table)
    assert {name.rsplit("_", 2)[0] for name in found if "macro" in name} == {"credited", "exact"}
    for name in ("credited_macro_f1", "exact_macro_f1"):
        assert found[name] == pytest.approx(wanted_of(table, small)[name], abs=1e-12)
    if case == "fewer":
        assert told == (
            "of its 397 cells 0 are not among the run's, which has 3 others, and 0 have another "
            "label"
        )
    if case == "more":
        assert "of its 402 cells 2 are not among the run's" in told


def test_without_names_of_cells_their_order_and_labels_decide(score, theirs):
    bare = theirs.drop(columns=["soma_joinid", "y_probs"])
    assert "study_aware_macro_f1" in score(bare.sort_index())[0]
    found, told = score(bare)
    assert "study_aware_macro_f1" not in found
    assert "does not name its 400 cells" in told


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop(columns="y_pred"), "has no column y_pred: name a detailed_results"),
        (lambda t: t.assign(y_pred="neuron"), "1 of its 1 labels in y_pred, the first is 'neuron'"),
        (lambda t: t.assign(y_probs=[[0.5, 0.5]] * N), "2 probabilities a cell .* has 5 types"),
        (lambda t: t.assign(y_probs=0.5), "no lists of probabilities in y_probs"),
        (lambda t: t.assign(soma_joinid=range(10**6, 10**6 + N)), "other cells than the run: none"),
    ],
)
def test_other_types_or_cells_are_told_in_one_sentence(change, sentence, score, theirs):
    with pytest.raises(UserError, match=sentence) as error:
        score(change(theirs))
    assert str(error.value).count(". ") == 0


def test_a_file_that_is_no_table_is_told_with_the_cure(small, tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match=r"cannot be read as Parquet .*: fetch it again"):
        read_results(tmp_path / "x.parquet", small)


def test_predictions_that_are_not_the_most_probable_type_are_logged(
    theirs, small, tmp_path, caplog
):
    other = theirs.assign(y_pred=theirs["y_pred"].to_numpy()[::-1])
    differ = int((other["y_pred"] != theirs["y_pred"]).sum())
    other.to_parquet(tmp_path / "x.parquet")
    read_results(tmp_path / "x.parquet", small)
    assert f"differs from y_pred in {differ} of 400 cells" in caplog.text


def test_own_cells_are_those_of_the_set_in_their_order(tmp_path):
    frame = pd.DataFrame(
        {
            "soma_joinid": [5, 3, 9, 1],
            "label": np.array([1, 0, 1, 2], dtype=np.int16),
            "study": pd.Categorical(["a", "b", "b", "c"]),
            "set": pd.Categorical(["ood", "id", "ood", "ood"]),
        }
    )
    frame.to_parquet(tmp_path / "cells.parquet", row_group_size=2)
    own = read_own_cells(tmp_path / "cells.parquet", "ood")
    assert own["soma_joinid"].tolist() == [5, 9, 1]
    assert own["study"].astype(str).tolist() == ["a", "b", "c"]
