"""The leakage audit finds what is planted, and nothing that only looks like it."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from hce import audit_cells
from hce.audit import (
    REASONS,
    REFERENCE_SETS,
    Audit,
    audit_reference,
    audit_set,
    collections_of,
    withdrawn_studies,
)
from hce.audit_cells import fingerprints, identical_cells, only, read_totals
from hce.audit_matching import (
    compare_matching,
    compare_totals,
    features_beyond,
    read_raw_sums,
    sample_totals,
    summarise_matching,
)
from hce.census import open_release
from hce.counts import Counts
from hce.sources.soma import HUMAN, Study, write_census
from hce.store import CellStore, write_shard, write_store


@dataclass
class Memory:
    """A store that lies in memory, streamed some cells at a time."""

    counts: Counts
    step: int = 7

    def blocks(self):
        for start in range(0, len(self.counts), self.step):
            yield self.counts.slice(start, min(start + self.step, len(self.counts)))


def from_dense(dense: np.ndarray) -> Counts:
    rows, genes = np.nonzero(dense)
    indptr = np.concatenate([[0], np.cumsum((dense > 0).sum(axis=1))]).astype(np.int64)
    return Counts(indptr, genes.astype(np.uint16), dense[rows, genes].astype(np.uint16))


def brute_force(tables: list[np.ndarray], must_hold: int | None) -> set[frozenset]:
    """Sets of (store, row) with equal rows, by comparing rows as they are written."""
    found = defaultdict(set)
    for store, dense in enumerate(tables):
        for row, values in enumerate(dense.tolist()):
            if any(values):
                found[tuple(values)].add((store, row))
    return {
        frozenset(cells)
        for cells in found.values()
        if len(cells) > 1 and (must_hold is None or must_hold in {s for s, _ in cells})
    }


def groups_of(table: pd.DataFrame) -> set[frozenset]:
    return {
        frozenset(zip(group["store"], group["row"], strict=True))
        for _, group in table.groupby("group")
    }


def random_tables(rng: np.random.Generator, n_genes: int = 4) -> list[np.ndarray]:
    """Four small stores in which equal cells are frequent."""
    return [rng.integers(0, 3, (n, n_genes)) * rng.integers(0, 2) for n in rng.integers(0, 30, 4)]


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 0, 3]), st.booleans())
@settings(deadline=None, max_examples=40)
def test_identical_cells_are_those_of_a_brute_force_comparison(seed, must_hold, some):
    rng = np.random.default_rng(seed)
    tables = random_tables(rng)
    shared = np.array([True, False, True, True]) if some else None
    found = identical_cells([Memory(from_dense(t)) for t in tables], shared, must_hold)
    kept = [t * shared if some else t for t in tables]
    assert groups_of(found) == brute_force(kept, must_hold)
    assert found["group"].is_monotonic_increasing


def weak(counts: Counts) -> np.ndarray:
    """Two values for all cells, so that most candidates are no equals."""
    return (np.diff(counts.indptr) % 2 + 1).astype(np.uint64)


@pytest.mark.parametrize("chunk", [4, 1 << 15])
def test_colliding_fingerprints_are_not_reported(monkeypatch, chunk):
    monkeypatch.setattr(audit_cells, "fingerprints", weak)
    monkeypatch.setattr(audit_cells, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    tables = [rng.integers(0, 3, (n, 5)) + np.eye(n, 5, dtype=int) for n in (20, 10, 15)]
    found = identical_cells([Memory(from_dense(t)) for t in tables])
    assert groups_of(found) == brute_force(tables, None)
    assert 0 < len(found) < 45


@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_the_size_of_a_chunk_changes_nothing(monkeypatch, chunk):
    rng = np.random.default_rng(3)
    tables = [rng.integers(0, 3, (n, 3)) for n in (30, 0, 20)]
    expected = identical_cells([Memory(from_dense(t)) for t in tables])
    monkeypatch.setattr(audit_cells, "CHUNK", chunk)
    pd.testing.assert_frame_equal(
        identical_cells([Memory(from_dense(t)) for t in tables]), expected
    )
    assert len(expected) > 10


def test_fingerprints_tell_gene_from_count_and_ignore_the_order_of_genes():
    cells = [{3: 5}, {5: 3}, {3: 5, 5: 3}, {3: 4, 5: 4}, {3: 5, 0: 1}, {}, {65535: 65535}]
    parts = [
        Counts(
            np.array([0, len(cell)]),
            np.array(list(cell), dtype=np.uint16),
            np.array(list(cell.values()), dtype=np.uint16),
        )
        for cell in cells
    ]
    prints = fingerprints(Counts.concatenate(parts))
    assert len(set(prints.tolist())) == len(cells)
    assert prints[5] == 0
    mixed = Counts(np.array([0, 2]), np.array([5, 3], np.uint16), np.array([3, 5], np.uint16))
    assert fingerprints(mixed)[0] == prints[2]


def test_random_cells_do_not_collide():
    rng = np.random.default_rng(1)
    dense = rng.integers(0, 4, (20_000, 12))
    different = len(np.unique(dense, axis=0))
    assert len(np.unique(fingerprints(from_dense(dense)))) == different


def test_totals_and_masks_follow_the_dense_matrix(make_counts):
    counts = make_counts(100, 50)
    dense = np.zeros((100, 50), dtype=np.int64)
    for i, (lo, hi) in enumerate(pairwise(counts.indptr)):
        dense[i, counts.genes[lo:hi]] = counts.values[lo:hi]
    np.testing.assert_array_equal(read_totals(Memory(counts)), dense.sum(axis=1))
    shared = np.arange(50) % 3 > 0
    kept = only(counts, shared)
    np.testing.assert_array_equal(read_totals(Memory(kept)), dense[:, shared].sum(axis=1))
    assert shared[kept.genes].all()


def test_real_stores_are_compared(tmp_path, make_counts):
    counts = make_counts(3000, 80)
    genes = pd.DataFrame({"feature_id": [f"G{i}" for i in range(80)], "feature_name": "g"})
    write_shard(tmp_path / "all.arrow", [(np.arange(3000), counts)])
    parts = {"a": np.arange(0, 2000), "b": np.arange(1500, 3000)[::-1]}
    stores = []
    for name, ids in parts.items():
        cells = pd.DataFrame({"soma_joinid": ids})
        write_store(tmp_path / name, [tmp_path / "all.arrow"], cells, genes, {})
        stores.append(CellStore.open(tmp_path / name))
    found = identical_cells(stores, must_hold=1)
    filled = np.flatnonzero(np.diff(counts.indptr) > 5)
    pairs = {frozenset([(0, i), (1, 2999 - i)]) for i in filled if 1500 <= i < 2000}
    assert pairs <= groups_of(found)
    assert len(pairs) > 300


# --- what the findings mean ---------------------------------------------------------------------


def make_cells(rows: list[tuple[str, str, str]]) -> pd.DataFrame:
    """Cells from (set, study, donor_id)."""
    table = pd.DataFrame(rows, columns=["set", "study", "donor_id"])
    return pd.DataFrame(
        {
            "soma_joinid": np.arange(len(table)) + 10,
            "study": table["study"].astype("category"),
            "donor": (table["study"] + "_" + table["donor_id"]).astype("category"),
            "set": table["set"].astype("category"),
        }
    )


def make_datasets(collections: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "dataset_id": list(collections),
            "dataset_title": [f"Title of {study}" for study in collections],
            "collection_id": list(collections.values()),
            "collection_name": [f"Name of {c}" for c in collections.values()],
        }
    )


OLD = make_cells(
    [("train", "s1", "d1")] * 4
    + [("train", "s2", "d_2")] * 3
    + [("val", "s1", "d3")] * 2
    + [("id", "s3", "d1")] * 3
)
OLD_DATASETS = make_datasets({"s1": "c1", "s2": "c2", "s3": "c3", "gone": "c4"})
NEW = make_cells(
    [("ood", "n1", "d1")] * 2  # collection c1, which has d1 in s1
    + [("ood", "n1", "d9")] * 2  # collection c1, a new donor
    + [("ood", "n2", "d_2")] * 3  # a new collection; the donor_id stands in c2
    + [("ood", "n3", "x")] * 4  # a new collection
)
NEW_DATASETS = make_datasets(
    {"s1": "c1", "s2": "c2", "s3": "c3", "n1": "c1", "n2": "c8", "n3": "c9"}
)


def groups(*members: list[tuple[int, int]]) -> pd.DataFrame:
    rows = [(s, r, g) for g, cells in enumerate(members) for s, r in sorted(cells)]
    return pd.DataFrame(rows, columns=["store", "row", "group"])


def run_audit(found: pd.DataFrame | None = None, **options: object) -> Audit:
    return audit_set(
        OLD,
        options.pop("new", NEW),
        collections_of(OLD_DATASETS, NEW_DATASETS),
        NEW_DATASETS,
        groups() if found is None else found,
        options.pop("reasons", REASONS),
        options.pop("redeposit_share", 0.5),
    )


def value(table: pd.DataFrame, quantity: str) -> float:
    (found,) = table.loc[table["quantity"] == quantity, "value"]
    return found


def test_studies_of_old_collections_and_shared_donors_are_found():
    audit = run_audit()
    studies = audit.studies.set_index("study")
    assert studies["known_collection"].to_dict() == {"n3": False, "n1": True, "n2": False}
    assert studies["shared_donors"].to_dict() == {"n3": 0, "n1": 1, "n2": 0}
    assert studies["donor_ids_elsewhere"].to_dict() == {"n3": 0, "n1": 1, "n2": 1}
    assert studies["title"]["n1"] == "Title of n1"
    assert (
        audit.cells["reason"].tolist() == ["collection;donor"] * 2 + ["collection"] * 2 + [""] * 7
    )
    assert audit.cells["leaky"].tolist() == [True] * 4 + [False] * 7
    assert audit.cells["soma_joinid"].tolist() == NEW["soma_joinid"].tolist()
    assert value(audit.summary, "cells of shared donors") == 2
    assert value(audit.summary, "studies without clean cells") == 1


def test_a_collection_that_a_study_left_still_counts():
    moved = NEW_DATASETS.assign(
        collection_id=NEW_DATASETS["collection_id"].where(NEW_DATASETS["dataset_id"] != "s1", "c0")
    )
    found = collections_of(OLD_DATASETS, moved)
    assert found["s1"] == {"c1", "c0"}


def test_reasons_of_the_config_decide_what_is_leaky():
    audit = run_audit(reasons=["donor"])
    assert audit.cells["leaky"].sum() == 2
    assert audit.cells["reason"].str.contains("collection").sum() == 4
    assert not run_audit(reasons=[]).cells["leaky"].any()


def test_duplicates_are_counted_by_set_and_redeposits_by_study():
    # Cells of n3 are 7 to 10 of the set. 7 equals two cells of s1 (train, val), 8 one of s1 and
    # one of s3, 9 equals a cell of s3; 5 and 6 equal each other and nothing older.
    found = groups(
        [(3, 7), (0, 0), (1, 0)], [(3, 8), (0, 1), (2, 0)], [(3, 9), (2, 2)], [(3, 5), (3, 6)]
    )
    audit = run_audit(found)
    n3 = audit.studies.set_index("study").loc["n3"]
    assert n3[["duplicates", *(f"duplicates_of_{s}" for s in REFERENCE_SETS)]].tolist() == [
        3,
        2,
        1,
        2,
    ]
    assert (n3["closest_study"], n3["closest_cells"]) == ("s1", 2)
    assert n3["redeposit"]
    assert audit.cells["reason"].tolist()[7:] == ["duplicate;redeposit"] * 3 + ["redeposit"]
    assert n3["leaky_cells"] == 4
    strict = run_audit(found, redeposit_share=0.51)
    assert not strict.studies["redeposit"].any()
    assert strict.cells["leaky"].tolist()[7:] == [True] * 3 + [False]
    assert value(audit.summary, "cells equal to a cell of the reference") == 3
    assert value(audit.summary, "cells that the set holds more than once") == 2


def test_without_counts_to_compare_duplicates_are_not_known():
    audit = audit_set(OLD, NEW, collections_of(OLD_DATASETS), NEW_DATASETS, None, REASONS, 0.5)
    assert audit.studies["duplicates"].isna().all()
    assert np.isnan(value(audit.summary, "cells equal to a cell of the reference"))
    assert value(audit.summary, "leaky cells") == 4
    assert np.isnan(value(audit_reference(OLD, None), "cells held more than once"))


def test_a_set_without_cells_is_audited_too():
    audit = run_audit(new=NEW.iloc[:0])
    assert len(audit.cells) == len(audit.studies) == 0
    assert value(audit.summary, "leaky cells") == 0


def test_the_reference_cells_that_are_there_twice_are_counted_by_set():
    found = groups(
        [(0, 0), (0, 1), (0, 2)],
        [(0, 3), (1, 0)],
        [(0, 4), (0, 5), (2, 0)],
        [(1, 1), (2, 1), (2, 2)],
    )
    table = audit_reference(OLD, found).set_index("quantity")["value"]
    assert table["cells held more than once"] == 11
    assert table["superfluous copies among them"] == 7
    assert table["cells whose copies are in different sets"] == 8
    assert table["val cells that are also in train"] == 1
    assert table["id cells that are also in train"] == 1
    assert table["id cells that are also in val"] == 2


def test_withdrawn_studies_are_listed_with_their_cells():
    datasets = NEW_DATASETS[NEW_DATASETS["dataset_id"] != "s1"]
    table = withdrawn_studies(OLD, OLD_DATASETS, datasets).set_index("study")
    assert table.loc["s1", ["train", "val", "id"]].tolist() == [4, 2, 0]
    assert table.loc["gone", ["train", "val", "id"]].tolist() == [0, 0, 0]
    assert len(table) == 2


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_the_whole_audit_equals_one_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    collections = {f"s{i}": f"c{rng.integers(4)}" for i in range(8)}
    datasets = make_datasets(collections)

    def some(name: str, studies: list[str], n: int) -> list[tuple[str, str, str]]:
        return [(name, str(rng.choice(studies)), f"d{rng.integers(3)}") for _ in range(n)]

    sizes = rng.integers(1, 15, 4)
    old_studies, new_studies = [f"s{i}" for i in range(5)], [f"s{i}" for i in range(5, 8)]
    parts = [some(name, old_studies, n) for name, n in zip(REFERENCE_SETS, sizes[:3], strict=True)]
    new = make_cells(some("ood", new_studies, sizes[3]))
    old = make_cells([row for part in parts for row in part])
    tables = [rng.integers(0, 2, (n, 4)) for n in sizes]
    found = identical_cells([Memory(from_dense(t)) for t in tables], must_hold=3)
    audit = audit_set(old, new, collections_of(datasets), datasets, found, REASONS, 0.5)

    dense = np.concatenate(tables[:3])
    equal_in: dict[str, list[set[str]]] = {}
    expected = []
    for i, cell in new.iterrows():
        donor_id = cell["donor"].split("_")[1]
        same = [
            j for j in range(len(old)) if tables[3][i].any() and (dense[j] == tables[3][i]).all()
        ]
        equal_in.setdefault(cell["study"], []).append({old["study"][j] for j in same})
        twins = old[
            old["study"].map(lambda s: collections[s]).astype(str) == collections[cell["study"]]
        ]
        expected.append(
            {
                "collection": len(twins) > 0,
                "donor": donor_id in set(twins["donor"].astype(str).str.split("_").str[1]),
                "duplicate": bool(same),
            }
        )
    for i, row in enumerate(expected):
        most = max(
            (sum(s in cell for cell in equal_in[new["study"][i]]) for s in old_studies), default=0
        )
        row["redeposit"] = most >= 0.5 * len(equal_in[new["study"][i]])
        words = ";".join(reason for reason in REASONS if row[reason])
        assert audit.cells["reason"][i] == words
        assert audit.cells["leaky"][i] == bool(words)
    assert audit.studies["leaky_cells"].sum() == audit.cells["leaky"].sum()


# --- types by id, totals ------------------------------------------------------------------------


def test_types_are_matched_by_label_and_by_id(tmp_path):
    types = pd.DataFrame({"cl_id": ["CL:1", "CL:2", "CL:3"], "label": ["a", "b", "c"]})
    rows = [
        *[("new", "a", "CL:1")] * 5,
        *[("new", "b", "CL:9")] * 4,  # the same name under another id
        *[("new", "renamed", "CL:3")] * 3,
        *[("new", "a", "CL:2")] * 2,  # two of our types
        ("new", "other", "CL:8"),
        *[("old", "c", "CL:3")] * 7,
    ]
    columns = ["dataset_id", "cell_type", "cell_type_ontology_term_id"]
    pd.DataFrame(rows, columns=columns).astype("category").to_parquet(tmp_path / "cells.parquet")
    found = compare_matching(tmp_path / "cells.parquet", ["old"], types)
    assert found["cells"].sum() == 15
    table = summarise_matching(found).set_index("quantity")["value"]
    assert table.to_dict() == {
        "cells by label": 11,
        "cells by CL id": 10,
        "cells lost by matching CL ids": 4,
        "cells won by matching CL ids": 3,
        "cells of another type by CL id": 2,
        "types by label": 2,
        "types by CL id": 3,
        "types lost by matching CL ids": 0,
        "types won by matching CL ids": 1,
    }
    nothing = compare_matching(tmp_path / "cells.parquet", ["old", "new"], types)
    assert nothing.empty
    assert summarise_matching(nothing)["value"].eq(0).all()


@pytest.fixture(scope="module", params=["2023-05-15", "2023-12-15"])
def small_release(request, tmp_path_factory):
    """Two studies of 300 cells and 12 genes; the counts, and the open release."""
    rng = np.random.default_rng(5)
    dense = rng.integers(0, 4, (600, 12))
    genes = pd.DataFrame(
        {
            "feature_id": [f"E{i}" for i in range(12)],
            "feature_name": [f"n{i % 10}" for i in range(12)],  # n0 and n1 stand for two features
            "feature_length": 0,
        }
    )
    obs = {"cell_type": "a", "donor_id": "d", "assay": "10x 3' v3", "is_primary_data": True}
    studies = [
        Study(
            *(f"s{i}", "t", "c", "c", ""),
            pd.DataFrame([obs] * 300),
            sp.csr_matrix(dense[300 * i : 300 * i + 300]),
        )
        for i in range(2)
    ]
    path = tmp_path_factory.mktemp("release") / "soma"
    write_census(path, request.param, studies, {HUMAN: genes})
    with open_release(request.param, str(path)) as release:
        yield request.param, release, dense, genes.assign(soma_joinid=np.arange(12))


def test_totals_are_compared_with_those_of_all_features_and_of_all_names(small_release):
    name, release, dense, genes = small_release
    ids = np.concatenate([np.arange(10, 300), np.arange(310, 600)])
    cells = pd.DataFrame({"soma_joinid": ids, "study": np.repeat(["s0", "s1"], 290)})
    ours = genes.iloc[:8]
    totals = dense[ids, :8].sum(axis=1)
    raw = read_raw_sums(release, cells)
    if name == "2023-05-15":
        assert raw is None
    else:
        np.testing.assert_array_equal(raw, dense[ids].sum(axis=1))
    names = [f"n{i}" for i in range(8)]
    further = features_beyond(ours, genes, names)
    assert further.tolist() == [10, 11]
    assert features_beyond(ours, genes, None).tolist() == [8, 9, 10, 11]
    beyond = sample_totals(release, further, cells)
    assert len(beyond) == 2 * 256
    table = compare_totals(cells, totals, raw, beyond, len(further)).set_index("study")
    sample = np.arange(310, 566)
    share = dense[sample, :8].sum(axis=1) / dense[sample][:, [*range(8), 10, 11]].sum(axis=1)
    assert table["share_of_named_median"]["s1"] == pytest.approx(np.median(share))
    assert table["share_of_named_min"]["s1"] == pytest.approx(share.min())
    if raw is None:
        assert table["share_of_all_median"].isna().all()
    else:
        share = totals[:290] / dense[ids[:290]].sum(axis=1)
        assert table["share_of_all_median"]["s0"] == pytest.approx(np.median(share))


def test_where_names_add_no_feature_the_totals_agree_exactly(small_release):
    _, release, dense, genes = small_release
    cells = pd.DataFrame({"soma_joinid": np.arange(600), "study": "s"})
    further = features_beyond(genes, genes, None)
    beyond = sample_totals(release, further, cells)
    assert len(further) == len(beyond) == 0
    table = compare_totals(cells, dense.sum(axis=1), None, beyond, 0)
    assert table.filter(like="share_of_named").eq(1).all(axis=None)
