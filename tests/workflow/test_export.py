"""A release by its build name from an S3 server with faults, to the same store as a local one."""

import json

import pytest

from hce.store.cell_store import CellStore
from s3_server import serve

pytestmark = pytest.mark.workflow

BUILD = "2023-05-15"
DATA = "resources/atlas/remote"
EXPORTS = [f"{DATA}/export/{BUILD}/{shard}.arrow" for shard in range(2)]
STORE = f"{DATA}/store/id"


def test_a_store_comes_whole_through_broken_connections_and_a_damaged_export(
    finished, new_workplace
):
    place = new_workplace()
    with serve(finished.folder / "resources/atlas/demo/census") as s3:
        builds = {BUILD: {"soma": {"uri": s3.uri(f"{BUILD}/soma"), "s3_region": "us-west-2"}}}
        (place.folder / "release.json").write_text(json.dumps(builds))
        connection = {"directory": "release.json", "tries": 9, "wait": 0.1, "tiledb": s3.settings}
        config = {
            "data": {"name": "remote", "source": "census", "connection": connection},
            "curation": {"expected_types": None},
            "export": {"shards": 2, "connections": 1},
        }

        broken = []

        def fault(key):
            if "/X/raw/" in key and "metadata" not in key and len(broken) < 8:
                broken.append(key)
                return "drop"
            return None

        s3.fault = fault
        exported = place.snakemake(*EXPORTS, config=config)
        assert exported.returncode == 0, exported.stderr[-5000:]
        assert "census_connections=1" in exported.stderr
        logs = (place.folder / f"{DATA}/logs").glob("export_counts_*.log")
        assert any("try 2 of 9" in log.read_text() for log in logs)

        whole, damaged = (place.folder / path for path in EXPORTS)
        content = bytearray(damaged.read_bytes())
        content[len(content) // 2] ^= 1
        damaged.write_bytes(content)
        failed = place.snakemake(STORE, config=config)
        assert failed.returncode != 0
        assert f"Shard {EXPORTS[1]} is damaged" in failed.stderr

        time = whole.stat().st_mtime_ns
        damaged.unlink()
        again = place.snakemake(STORE, "--notemp", config=config)
        assert again.returncode == 0, again.stderr[-5000:]
        assert whole.stat().st_mtime_ns == time

    found, local = (
        CellStore.open(folder / store)
        for folder, store in (
            (place.folder, STORE),
            (finished.folder, "resources/atlas/demo/store/id"),
        )
    )
    found.verify()
    assert found.manifest["shards"] == local.manifest["shards"]


def test_another_timeout_or_proxy_makes_nothing_again(finished):
    connection = {
        "tries": 2,
        "tiledb": {"vfs.s3.request_timeout_ms": 1000, "vfs.s3.proxy_port": 80},
    }
    assert finished.planned({"data": {"connection": connection}}) == {
        "write_config": 1,
        "write_provenance": 1,
    }
