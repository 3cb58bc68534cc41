"""What goes wrong between a release and its store: connection, counts, disk, job."""

import json
import logging
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
import tiledbsoma
from hypothesis import given
from hypothesis import strategies as st

from hce.census import counts as census_counts
from hce.census.counts import CountsReader, part_of
from hce.census.release import open_release, read_cells, read_genes
from hce.census.retry import Connection, find_build
from hce.errors import UserError
from hce.files import clear_partial
from hce.sources.soma import Study, write_census
from hce.store.shards import read_shard
from s3_server import serve

N_CELLS, N_GENES = 6000, 40
BUILD = "2023-05-15"
GENES = pd.DataFrame(
    {
        "feature_id": [f"ENSG{i:03d}" for i in range(N_GENES)],
        "feature_name": [f"GENE{i}" for i in range(N_GENES)],
        "feature_length": 1000,
    }
)


def random_study(n: int = N_CELLS) -> Study:
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "assay": ["10x 3' v2"] * n,
            "cell_type": [f"type {i % 7}" for i in range(n)],
            "cell_type_ontology_term_id": "CL:0000084",
            "donor_id": [f"donor{i % 3}" for i in range(n)],
            "is_primary_data": [i % 4 != 0 for i in range(n)],
            "tissue": "blood",
            "tissue_general": "blood",
            "disease": "normal",
        }
    )
    counts = sp.random(n, N_GENES, 0.3, format="csr", rng=rng).astype(np.float32)
    counts.data = rng.integers(1, 400, counts.nnz).astype(np.float32)
    return Study("a", "Study a", "c", "Collection", "", obs, counts)


def dense(blocks) -> np.ndarray:
    parts = [
        sp.csr_matrix((c.values, c.genes, c.indptr), (len(ids), N_GENES)).toarray()
        for ids, c in blocks
    ]
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def study():
    return random_study()


@pytest.fixture(scope="module")
def bucket(study, tmp_path_factory):
    """A folder with a release named `census` in it."""
    folder = tmp_path_factory.mktemp("bucket")
    write_census(folder / "census", BUILD, [study], {"homo_sapiens": GENES})
    return folder


@pytest.fixture
def s3(bucket):
    with serve(bucket) as server:
        yield server


def first_answers(fault, number: int, part: str):
    """A fault of the first answers that serve data of a part of the release."""
    left = [number]

    def of(key: str):
        if part in key and key.endswith(".tdb") and "metadata" not in key and left[0] > 0:
            left[0] -= 1
            return fault
        return None

    return of


class TestLink:
    def connection(self, s3, tries=6) -> Connection:
        return Connection(tries=tries, wait=0.01, tiledb=s3.settings)

    @pytest.mark.parametrize("fault", ["drop", 503])
    def test_a_slab_whose_connection_breaks_is_read_again(
        self, s3, study, fault, caplog, monkeypatch
    ):
        monkeypatch.setattr(census_counts, "SLAB", 2048)
        with open_release(BUILD, s3.uri("census"), self.connection(s3)) as release:
            reader = CountsReader(release, np.arange(N_GENES))
            s3.fault = first_answers(fault, 8, "/X/raw/")
            with caplog.at_level(logging.WARNING, "hce.census.retry"):
                found = dense(reader.blocks(np.arange(N_CELLS)))
        assert (found == study.counts.toarray()).all()
        assert "try 2 of 6" in caplog.text

    def test_obs_is_read_again_in_ranges(self, s3, bucket, tmp_path, monkeypatch, caplog):
        monkeypatch.setattr("hce.census.release.ROWS", 2500)
        with open_release(BUILD, str(bucket / "census")) as release:
            expected = read_cells(release, ["10x 3' v2"], tmp_path / "local.parquet")
        with open_release(BUILD, s3.uri("census"), self.connection(s3)) as release:
            s3.fault = first_answers("drop", 5, "/obs/")
            steps = read_cells(release, ["10x 3' v2"], tmp_path / "s3.parquet")
        assert steps == expected == {"all": 6000, "primary": 4500, "assays": 4500}
        local, remote = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("local", "s3"))
        assert local.equals(remote)
        assert "try 2 of 6" in caplog.text

    def test_a_link_that_stays_down_is_given_up_with_one_sentence(self, s3):
        with open_release(BUILD, s3.uri("census"), self.connection(s3, tries=3)) as release:
            reader = CountsReader(release, np.arange(N_GENES))
            s3.fault = lambda key: "drop"
            with pytest.raises(
                UserError, match=r"in 3 tries: .*raise data\.connection\.tries"
            ) as error:
                list(reader.blocks(np.arange(N_CELLS)))
        assert "\n" not in str(error.value)

    def test_what_is_not_allowed_is_asked_for_once(self, s3, caplog):
        with open_release(BUILD, s3.uri("census"), self.connection(s3)) as release:
            reader = CountsReader(release, np.arange(N_GENES))
            s3.fault = lambda key: 403
            with pytest.raises(UserError, match=r"403.*not allowed"):
                list(reader.blocks(np.arange(N_CELLS)))
        assert "try 2" not in caplog.text

    def test_a_damaged_local_file_is_named_at_once(self, study, tmp_path, caplog):
        write_census(tmp_path / "x", BUILD, [study], {"homo_sapiens": GENES})
        for path in (tmp_path / "x").rglob("X/raw/__fragments/*/a0.tdb"):
            path.write_bytes(path.read_bytes()[:100])
        with (
            open_release(BUILD, str(tmp_path / "x"), Connection(wait=60)) as release,
            pytest.raises(UserError, match=r"Cannot read the counts of soma_joinid 0 to .*damaged"),
        ):
            list(CountsReader(release, np.arange(N_GENES)).blocks(np.arange(N_CELLS)))
        assert "try 2" not in caplog.text


class TestNamedBuild:
    @pytest.fixture
    def directory(self, bucket, tmp_path) -> str:
        builds = {
            "stable": "2023-07-25",
            "2023-07-25": {"soma": {"uri": "s3://x/y", "s3_region": "eu-1"}},
            BUILD: {"soma": {"uri": str(bucket / "census"), "s3_region": "us-west-2"}},
            "2023-01-01": {"soma": {"uri": "s3://x/z"}, "flags": {"retracted": True}},
        }
        path = tmp_path / "release.json"
        path.write_text(json.dumps(builds))
        return str(path)

    def test_a_build_is_opened_where_the_directory_says(self, directory):
        with open_release(BUILD, connection=Connection(directory)) as release:
            assert len(read_genes(release)) == N_GENES

    def test_an_alias_is_followed(self, directory):
        assert find_build("stable", Connection(directory)) == ("s3://x/y", "eu-1")

    def test_a_retracted_build_is_opened_with_a_warning(self, directory, caplog):
        assert find_build("2023-01-01", Connection(directory)) == ("s3://x/z", None)
        assert "retracted" in caplog.text

    def test_a_build_that_does_not_exist_is_refused_with_those_that_do(self, directory):
        with (
            pytest.raises(UserError, match=r"no Census build 2023-05-16.* 2023-05-15, 2023-07-25"),
            open_release("2023-05-16", connection=Connection(directory)),
        ):
            pass

    @pytest.mark.parametrize("content", ["<html>", "[]", '{"2023-05-15": {}}'])
    def test_a_directory_that_is_none_is_one_sentence(self, content, tmp_path):
        (tmp_path / "d.json").write_text(content)
        with pytest.raises(UserError, match=r"Cannot look up the build 2023-05-15"):
            find_build(BUILD, Connection(str(tmp_path / "d.json")))

    def test_without_network_the_cure_is_named_at_once(self):
        start = time.monotonic()
        with pytest.raises(UserError, match=r"without a network, name an address in data\.ref"):
            find_build(BUILD, Connection("http://127.0.0.1:9/release.json"))
        assert time.monotonic() - start < 5


class TestCounts:
    @pytest.mark.parametrize("bad", [65536, 1.5, -1, np.nan, np.inf])
    def test_a_value_that_is_no_raw_count_of_16_bits_is_named(self, bad, tmp_path):
        odd = random_study(50)
        odd.counts.data[17] = bad
        write_census(tmp_path / "x", BUILD, [odd], {"homo_sapiens": GENES})
        with (
            open_release(BUILD, str(tmp_path / "x")) as release,
            pytest.raises(
                UserError, match=rf"not raw counts: {float(bad)}, of the cell .* is no raw"
            ),
        ):
            list(CountsReader(release, np.arange(N_GENES)).blocks(np.arange(50)))

    def test_the_largest_count_of_16_bits_is_kept(self, tmp_path):
        large = random_study(50)
        large.counts.data[17] = 65535
        write_census(tmp_path / "x", BUILD, [large], {"homo_sapiens": GENES})
        with open_release(BUILD, str(tmp_path / "x")) as release:
            found = dense(CountsReader(release, np.arange(N_GENES)).blocks(np.arange(50)))
        assert (found == large.counts.toarray()).all()

    def test_dictionary_encoded_columns_of_later_releases_read_the_same(self, bucket, tmp_path):
        later = tmp_path / "later"
        shutil.copytree(bucket / "census", later)
        _encode_strings(later / "census_data/homo_sapiens/obs")
        for name, path in (("plain", bucket / "census"), ("encoded", later)):
            with open_release(BUILD, str(path)) as release:
                obs = release.part("census_data", "homo_sapiens", "obs")
                is_encoded = pa.types.is_dictionary(obs.schema.field("cell_type").type)
                assert is_encoded == (name == "encoded")
                read_cells(release, ["10x 3' v2"], tmp_path / f"{name}.parquet")
        plain, found = (pd.read_parquet(tmp_path / f"{n}.parquet") for n in ("plain", "encoded"))
        assert plain.equals(found)


def _encode_strings(uri: Path) -> None:
    """Writes a dataframe of a release anew, its strings dictionary-encoded."""
    with tiledbsoma.DataFrame.open(str(uri)) as frame:
        table = frame.read().concat()
    for i, name in enumerate(table.column_names):
        if pa.types.is_large_string(table[name].type):
            table = table.set_column(i, name, table[name].combine_chunks().dictionary_encode())
    shutil.rmtree(uri)
    domain = [(0, len(table) - 1)]
    with tiledbsoma.DataFrame.create(str(uri), schema=table.schema, domain=domain) as frame:
        frame.write(table)


class TestParts:
    @given(
        st.sets(st.integers(0, 60_000), min_size=1, max_size=300),
        st.integers(1, 9),
    )
    def test_parts_hold_every_cell_once_and_no_slab_twice(self, cells, parts):
        ids = np.array(sorted(cells))
        found = [part_of(ids, number, parts) for number in range(parts)]
        assert np.concatenate(found).tolist() == ids.tolist()
        slabs = [slab for part in found for slab in np.unique(part // census_counts.SLAB)]
        assert len(slabs) == len(set(slabs))

    def test_parts_are_of_equal_size_but_for_a_slab(self):
        ids = np.arange(1_000_000)
        sizes = [len(part_of(ids, number, 7)) for number in range(7)]
        assert max(sizes) - min(sizes) <= 2 * census_counts.SLAB

    def test_no_cells_are_an_empty_part(self):
        assert len(part_of(np.array([], np.int64), 0, 3)) == 0


WRITES = """
import sys, time
import numpy as np
from hce.store.counts import Counts
from hce.store.shards import write_shard

def blocks():
    rng = np.random.default_rng(0)
    for start in range(0, 5000, 1000):
        indptr = np.arange(1001) * 30
        values = rng.integers(1, 60000, 30000).astype(np.uint16)
        genes = np.tile(np.arange(30, dtype=np.uint16), 1000)
        yield np.arange(start, start + 1000), Counts(indptr, genes, values)
        if start == 3000 and sys.argv[2] == "wait":
            print("half", flush=True)
            time.sleep(600)

if sys.argv[2] == "limit":
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_shard(sys.argv[1], blocks())
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.fixture
def writer(repository, tmp_path):
    """Starts a process that writes a shard of 5,000 cells to a path."""
    started = []

    def start(path, how: str) -> subprocess.Popen:
        command = [sys.executable, "-c", WRITES, str(path), how]
        started.append(
            subprocess.Popen(
                command,
                cwd=repository / "scripts",
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


class TestJobAndDisk:
    def test_a_job_killed_while_it_writes_leaves_no_shard_and_can_start_again(
        self, writer, tmp_path
    ):
        shard = tmp_path / "0.arrow"
        process = writer(shard, "wait")
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        left = [path.name for path in tmp_path.iterdir()]
        assert len(left) == 1
        assert "partial" in left[0]
        clear_partial(shard)
        assert list(tmp_path.iterdir()) == []
        assert writer(shard, "on").wait() == 0
        assert sum(len(keys) for keys, _ in read_shard(shard)) == 5000
        assert [path.name for path in tmp_path.iterdir()] == ["0.arrow"]

    def test_what_belongs_to_other_targets_is_not_cleared(self, tmp_path):
        of = "{}.host.12.partial"
        names = [of.format(name) for name in (".0.arrow", ".10.arrow", ".0.arrow.txt", ".0")]
        for name in names:
            (tmp_path / name).touch()
        clear_partial(tmp_path / "0.arrow")
        assert {path.name for path in tmp_path.iterdir()} == set(names[1:])

    def test_a_file_that_may_not_grow_is_one_sentence_and_leaves_nothing(self, writer, tmp_path):
        process = writer(tmp_path / "0.arrow", "limit")
        errors = process.communicate()[1]
        assert process.returncode == 1
        assert f"UserError: There is no space left for {tmp_path / '0.arrow'}" in errors
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_is_one_sentence_and_leaves_nothing(self, writer, tmp_path):
        disk = tmp_path / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)]
        try:
            subprocess.run(mount, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("no small disk can be mounted here")
        try:
            errors = writer(disk / "0.arrow", "on").communicate()[1]
            left = list(disk.iterdir())
        finally:
            subprocess.run(["umount", str(disk)], check=True)
        assert f"UserError: There is no space left for {disk / '0.arrow'}" in errors
        assert left == []
