"""The simulated atlas holds what it says, and nothing depends on what else is drawn."""

import dataclasses
import hashlib
from collections import Counter
from pathlib import Path

import cellxgene_census
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hce.errors import UserError
from hce.files import read_tsv
from hce.ontology import read_ontology
from hce.sources.simulation import (
    keep_truth,
    simulate_release,
    simulated_genes,
    truth_table,
)
from hce.sources.simulation_cells import Expression, label_cells, negative_binomial
from hce.sources.simulation_design import SimulationSettings, design_studies
from hce.sources.soma import HUMAN, MOUSE, write_census

RESOURCES = Path(__file__).parents[3] / "resources" / "ontology"
RELEASES = ["2023-05-15", "2023-12-15", "2024-07-01"]
SMALL = SimulationSettings(
    genes=60,
    studies=12,
    new_studies=4,
    cells_per_study=200,
    types_per_study=60,
    donors_per_study=4,
    min_cells_per_type=3,
)


@pytest.fixture(scope="module")
def ontology():
    return read_ontology(RESOURCES / "cl-slim.obo")


@pytest.fixture(scope="module")
def types():
    return read_tsv(RESOURCES / "cell_types_164.tsv")


@pytest.fixture(scope="module")
def releases(ontology, types):
    return {
        release: list(simulate_release(SMALL, ontology, types, RELEASES, release))
        for release in RELEASES
    }


def kept(studies):
    """Labels of the cells that the filters on organism, assay and primary data leave."""
    tables = [
        study.obs.assign(dataset_id=study.dataset_id)
        for study in studies
        if study.organism == HUMAN
    ]
    cells = pd.concat(tables, ignore_index=True)
    return cells[cells["is_primary_data"] & cells["assay"].str.startswith("10x")]


@pytest.fixture(scope="module")
def demo(ontology, types):
    """The demo's atlas with few genes: labels and numbers of cells do not depend on them."""
    settings = dataclasses.replace(SimulationSettings(), genes=2)
    return {
        release: kept(simulate_release(settings, ontology, types, RELEASES[:2], release))
        for release in RELEASES[:2]
    }


def test_same_seed_gives_the_same_studies_and_another_seed_others(releases, ontology, types):
    again = list(simulate_release(SMALL, ontology, types, RELEASES, RELEASES[0]))
    for first, second in zip(releases[RELEASES[0]], again, strict=True):
        assert first.dataset_id == second.dataset_id
        pd.testing.assert_frame_equal(first.obs, second.obs)
        assert (first.counts != second.counts).nnz == 0
    other = dataclasses.replace(SMALL, seed=2)
    differs = {
        s.dataset_id: s for s in simulate_release(other, ontology, types, RELEASES, RELEASES[0])
    }
    first = releases[RELEASES[0]][0]
    second = differs[first.dataset_id]
    assert first.counts.shape != second.counts.shape or (first.counts != second.counts).nnz


def test_a_newer_release_holds_the_older_ones_studies_in_another_order(releases):
    old, new = releases[RELEASES[0]], releases[RELEASES[1]]
    old_names = [study.dataset_id for study in old]
    order = [study.dataset_id for study in new if study.dataset_id in set(old_names)]
    assert sorted(order) == sorted(old_names)
    assert order != old_names
    genes = [simulated_genes(SMALL, RELEASES, r)[HUMAN]["feature_id"] for r in RELEASES[:2]]
    assert genes[0].is_monotonic_increasing
    assert not genes[1].is_monotonic_increasing
    by_name = {study.dataset_id: study for study in new}
    column = pd.Index(genes[1]).get_indexer(genes[0])
    for study in old:
        same = by_name[study.dataset_id]
        pd.testing.assert_frame_equal(study.obs, same.obs)
        np.testing.assert_array_equal(study.counts.toarray(), same.counts.toarray()[:, column])


def test_new_studies_are_dealt_to_the_newer_releases_in_order(releases):
    new = [{s.dataset_id for s in releases[r] if "new-study" in s.dataset_id} for r in RELEASES]
    assert [len(names) for names in new] == [0, 2, 4]
    assert new[1] < new[2]


def test_collections_features_and_datasets_are_named_as_simulated(releases):
    for study in releases[RELEASES[1]]:
        assert study.collection_name.startswith("Simulated collection ")
        assert study.title.startswith("Simulated ")
        assert study.dataset_id.startswith("simulated-")
    genes = simulated_genes(SMALL, RELEASES, RELEASES[0])[HUMAN]
    assert genes.iloc[0].to_dict() == {
        "feature_id": "SIMG00001",
        "feature_name": "SIM00001",
        "feature_length": 0,
    }


def test_it_holds_what_the_filters_must_remove(releases):
    studies = releases[RELEASES[0]]
    mouse = [study for study in studies if study.organism == MOUSE]
    assert sum(study.counts.shape[0] for study in mouse) > 200
    human = pd.concat([study.obs for study in studies if study.organism == HUMAN])
    assert {"Smart-seq2", "Drop-seq"} < set(human["assay"])
    assert (~human["is_primary_data"]).sum() > 50
    copy = next(study for study in studies if study.dataset_id == "simulated-redeposit-1")
    original = next(study for study in studies if study.dataset_id == "simulated-study-01")
    assert (copy.counts != original.counts).nnz == 0
    assert not copy.obs["is_primary_data"].any()


def test_newer_releases_leak_as_much_as_asked_for(releases, ontology, types):
    ood = set(types.loc[types["in_ood_80"] == 1, "cl_id"])
    assert "simulated-copy-1" not in {study.dataset_id for study in releases[RELEASES[0]]}
    for release in RELEASES[1:]:
        studies = {study.dataset_id: study for study in releases[release]}
        copy, original = studies["simulated-copy-1"], studies["simulated-study-02"]
        assert copy.obs["is_primary_data"].all()
        assert set(copy.obs["cell_type_ontology_term_id"]) <= ood
        rows = {row.tobytes() for row in original.counts.toarray()}
        assert 50 < len(copy.obs) <= SMALL.copied_cells
        assert all(row.tobytes() in rows for row in copy.counts.toarray())
    old = {study.collection_id for study in releases[RELEASES[0]]}
    for continued in (0, 1, 2):
        settings = dataclasses.replace(SMALL, continued_collections=continued, copied_cells=0)
        newer = simulate_release(settings, ontology, types, RELEASES, RELEASES[2])
        new = [s for s in newer if "new-study" in s.dataset_id or "copy" in s.dataset_id]
        assert sum(study.collection_id in old for study in new) == continued
        assert len(new) == SMALL.new_studies


def test_thresholds_of_the_demo_keep_the_164_types_and_nothing_else(demo, ontology, types):
    cells = demo[RELEASES[0]]
    cells = cells.assign(donor=cells["dataset_id"] + cells["donor_id"])
    by_type = cells.groupby("cell_type_ontology_term_id")
    enough_cells = by_type.size() >= 40
    enough_donors = by_type["donor"].nunique() > 5
    low_enough = pd.Series(
        {term: len(ontology.ancestors(term)) > 7 for term in by_type.groups}, dtype=bool
    )
    ours = set(types["cl_id"])
    assert set(low_enough.index[enough_cells & enough_donors & low_enough]) == ours
    # Each filter alone removes something that the other two leave.
    for others in (
        enough_donors & low_enough,
        enough_cells & low_enough,
        enough_cells & enough_donors,
    ):
        assert set(others.index[others]) > ours


def test_the_demo_is_as_large_as_its_config_says(demo, types):
    reference, newer = demo[RELEASES[0]], demo[RELEASES[1]]
    ours = reference[reference["cell_type_ontology_term_id"].isin(types["cl_id"])]
    assert len(ours) >= 40_000
    assert reference["dataset_id"].str.fullmatch(r"simulated-study-\d\d").sum() >= 40_000
    assert reference["dataset_id"].drop_duplicates().str.contains(r"-study-").sum() == 40
    new = newer[~newer["dataset_id"].isin(reference["dataset_id"])]
    assert new["dataset_id"].str.contains("new-study").sum() > 8_000
    is_open = new["dataset_id"] == "simulated-open-labels"
    assert not new.loc[is_open, "cell_type_ontology_term_id"].isin(types["cl_id"]).any()
    only = set(new.loc[is_open, "cell_type"]) - set(reference["cell_type"])
    assert only == {"muscle cell", "myeloid leukocyte"}
    new = new[~is_open]
    assert new["dataset_id"].nunique() == 9  # one of them copies cells of the reference
    assert set(new["cell_type_ontology_term_id"]) == set(
        types.loc[types["in_ood_80"] == 1, "cl_id"]
    )
    assert set(new["disease"]) - set(reference["disease"]) == {"Alzheimer disease"}
    assert set(new["tissue_general"]) - set(reference["tissue_general"]) == {"prostate gland"}


def test_studies_annotate_all_cells_of_a_type_at_one_ancestor(ontology, types):
    known = sorted(types["cl_id"])
    designs = design_studies(SimulationSettings(), ontology, known, new=False)
    coarse = [design.annotation for design in designs]
    for annotation in coarse:
        for cl_id, label in annotation.items():
            assert label in ontology.ancestors(cl_id)
            assert label in set(known)
    shares = [len(d.annotation) / len(d.types) for d in designs]
    assert min(shares) < 0.15 < 0.35 < max(shares)
    own_name = [sum(t in d.types and t not in d.annotation for d in designs) for t in known]
    assert min(own_name) >= 2
    none = dataclasses.replace(SimulationSettings(), coarse_share=0.0)
    assert not any(d.annotation for d in design_studies(none, ontology, known, new=False))


def test_without_unresolved_cells_it_is_the_atlas_that_it_was_before_there_were_any(
    releases, ontology, types
):
    """Labels and all else of obs by their checksum; counts do not depend on the setting."""
    settings = dataclasses.replace(SMALL, unresolved=0.0)
    checksum = hashlib.sha256()
    for release in RELEASES:
        studies = simulate_release(settings, ontology, types, RELEASES, release)
        for study, other in zip(studies, releases[release], strict=True):
            assert study.dataset_id == other.dataset_id
            if study.dataset_id == "simulated-open-labels":  # came later still, as the last study
                continue
            checksum.update(study.dataset_id.encode() + study.obs.to_csv().encode())
            if study.dataset_id != "simulated-copy-1":  # which cells it holds, labels decide
                assert (study.counts != other.counts).nnz == 0
    assert checksum.hexdigest() == (
        "876bd57d956e56e0b79dda4ef5d968f1911b6208aee7850bc65eda4624b712cc"
    )


def test_of_a_type_that_is_not_resolved_half_the_cells_keep_its_name(ontology, types):
    known = sorted(types["cl_id"])
    coarse = unresolved = 0
    for design in design_studies(SimulationSettings(), ontology, known, new=False):
        assert design.unresolved <= design.annotation.keys()
        truth = np.repeat(list(design.types), list(design.types.values()))
        truth = np.random.default_rng(0).permutation(truth)
        labels = pd.Series(label_cells(design, truth))
        for cl_id, found in labels.groupby(truth):
            if cl_id not in design.annotation:
                assert set(found) == {cl_id}
                continue
            own, above = (int((found == i).sum()) for i in (cl_id, design.annotation[cl_id]))
            assert own + above == len(found)
            assert own - above in (0, 1) if cl_id in design.unresolved else own == 0
            coarse += above
            unresolved += above * (own > 0)
    assert unresolved / coarse == pytest.approx(SimulationSettings().unresolved, abs=0.05)


def test_the_truth_is_kept_apart_and_fits_the_cells_of_the_release(ontology, types, tmp_path):
    parts = []
    studies = simulate_release(SMALL, ontology, types, RELEASES, RELEASES[1])
    genes = simulated_genes(SMALL, RELEASES, RELEASES[1])
    write_census(tmp_path / "soma", RELEASES[1], keep_truth(studies, parts), genes)
    truth = truth_table(parts).set_index("soma_joinid")["cl_id"]
    with cellxgene_census.open_soma(uri=str(tmp_path / "soma")) as census:
        cells = census["census_data"][HUMAN].obs.read().concat().to_pandas()
    assert sorted(cells["soma_joinid"]) == truth.index.tolist()
    labels = cells.set_index("soma_joinid")["cell_type_ontology_term_id"].astype(str)
    pairs = pd.DataFrame({"label": labels, "truth": truth})
    coarse = pairs[pairs["label"] != pairs["truth"]].drop_duplicates()
    assert len(coarse) > 20
    assert all(label in ontology.ancestors(true) for label, true in coarse.to_numpy())
    # Only the ancestors of what is written hint at it: no column of the release holds it.
    columns = cells.drop(columns="soma_joinid")
    same = [name for name in columns if (columns[name].astype(str) == truth.to_numpy()).all()]
    assert same == []


def test_cells_carry_the_labels_of_their_studys_annotation(releases, ontology, types):
    studies = {study.dataset_id: study for study in releases[RELEASES[0]]}
    coarse = 0
    for design in design_studies(SMALL, ontology, sorted(types["cl_id"]), new=False):
        expected = Counter()
        for cl_id, cells in design.types.items():
            above = cells // 2 if cl_id in design.unresolved else cells
            expected[design.annotation.get(cl_id, cl_id)] += above
            expected[cl_id] += cells - above
        coarse += len(design.annotation)
        obs = studies[design.name].obs
        assert Counter(obs["cell_type_ontology_term_id"]) == +expected
        assert obs["cell_type"].tolist() == [
            ontology.names[term] for term in obs["cell_type_ontology_term_id"]
        ]
    assert coarse > 0


def test_a_terms_programme_is_inherited_by_its_descendants_alone(ontology):
    settings = dataclasses.replace(SMALL, genes=2000)
    profiles = Expression(settings, ontology).profiles
    child, parent = "CL:0000625", "CL:0000084"  # CD8-positive, alpha-beta T cell; T cell
    base = Expression(settings, ontology).shift(settings.base_sd, "base")
    changed = {term: np.abs(profiles[term] - base) > 1e-6 for term in (child, parent)}
    inherited = (changed[child] & changed[parent]).sum() / changed[parent].sum()
    assert inherited > 0.99
    between = {*ontology.ancestors(child), child} - {*ontology.ancestors(parent), parent}
    share = np.mean(np.abs(profiles[child] - profiles[parent]) > 1e-5)
    expected = 1 - (1 - settings.programme_share) ** len(between)
    assert share == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(("mean", "dispersion"), [(0.05, 0.3), (2.0, 0.3), (2.0, 1.5), (80.0, 0.3)])
def test_counts_follow_the_negative_binomial_of_scipy(mean, dispersion):
    expected = np.full((200, 200), mean, dtype=np.float32)
    counts = negative_binomial(expected, dispersion, np.random.default_rng(3)).toarray()
    size = 1 / dispersion
    distribution = stats.nbinom(size, size / (size + mean))
    edges = np.unique(distribution.ppf([0.1, 0.3, 0.5, 0.7, 0.9, 0.99]))
    cumulative = np.concatenate([[0], distribution.cdf(edges), [1]])
    observed = np.histogram(counts, bins=[-1, *(edges + 0.5), np.inf])[0]
    wanted = np.diff(cumulative) * counts.size
    filled = wanted > 0
    assert stats.chisquare(observed[filled], wanted[filled]).pvalue > 1e-4
    assert counts.var() == pytest.approx(mean + dispersion * mean**2, rel=0.05)


def test_depth_is_the_median_number_of_counts(ontology, types):
    settings = dataclasses.replace(SMALL, genes=500, depth=300)
    studies = simulate_release(settings, ontology, types, RELEASES, RELEASES[0])
    totals = np.concatenate([np.asarray(s.counts.sum(axis=1)).ravel() for s in studies])
    assert np.median(totals) == pytest.approx(300, rel=0.05)


def test_a_type_outside_the_ontology_is_named(ontology, types):
    wrong = types.assign(cl_id=types["cl_id"].replace("CL:0000084", "CL:9999999"))
    with pytest.raises(UserError, match="CL:9999999"):
        next(simulate_release(SMALL, ontology, wrong, RELEASES, RELEASES[0]))


def test_every_setting_is_described():
    described = SimulationSettings.__doc__
    for field in dataclasses.fields(SimulationSettings):
        assert f"        {field.name}: " in described
