"""The leakage audit finds what is planted, and nothing that only looks like it."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from cells_in_memory import Memory, from_dense
from hce.leakage.audit import (
    REASONS,
    Audit,
    audit_reference,
    audit_set,
    collections_of,
    withdrawn_studies,
)
from hce.leakage.duplicates import identical_cells
from hce.sets import REFERENCE_SETS


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
