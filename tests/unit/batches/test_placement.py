"""Where cells stay is chosen by size, refused if they do not fit, and does not change batches."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch

from hce.batches import placement as module
from hce.batches.densify import Augmentation, SparseCells, TensorDensifier
from hce.batches.in_memory import Batches, ResidentBatches
from hce.batches.memory import GPU_RESERVE, HOST_RESERVE
from hce.batches.on_disk import StreamedBatches
from hce.batches.placement import (
    choose_residency,
    explaining_memory,
    open_batches,
)
from hce.errors import UserError
from hce.store.cell_store import write_store
from hce.store.shards import write_shard

CPU, GPU = torch.device("cpu"), torch.device("cuda")
GB = 10**9


@pytest.fixture
def memory(monkeypatch):
    """Pretends that so much memory is free."""

    def have(host, gpu=0):
        monkeypatch.setattr(module, "free_host_memory", lambda given_mb, processes: host)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (gpu, gpu))

    return have


@pytest.fixture
def store(make_counts, tmp_path):
    counts = make_counts(300, 50, seed=1)
    ids = np.arange(300, dtype=np.int64)
    write_shard(tmp_path / "0.arrow", [(ids, counts)])
    cells = pd.DataFrame({"soma_joinid": ids, "label": ids % 3})
    genes = pd.DataFrame({"feature_id": [f"E{i}" for i in range(50)], "feature_name": "g"})
    return write_store(tmp_path / "store", [tmp_path / "0.arrow"], cells, genes, {})


@pytest.mark.parametrize(
    ("device", "host", "gpu", "chosen"),
    [
        (CPU, 100, 0, "host"),
        (CPU, 50, 0, "disk"),
        (GPU, 100, 140, "gpu"),
        (GPU, 100, 60, "host"),
        (GPU, 50, 60, "disk"),
        (GPU, 50, 140, "gpu"),  # the host holds a block of them at a time
    ],
)
def test_auto_takes_the_first_place_that_is_large_enough(memory, device, host, gpu, chosen):
    memory(host * GB, gpu * GB)
    assert choose_residency("auto", 80 * GB, device) == chosen


def test_the_model_has_room_beside_the_cells(memory):
    size = 10 * GB
    memory(size + HOST_RESERVE, size + GPU_RESERVE)
    assert choose_residency("auto", size, GPU) == "gpu"
    memory(size + HOST_RESERVE, size + GPU_RESERVE - 1)
    assert choose_residency("auto", size, GPU) == "host"
    memory(size + HOST_RESERVE - 1, size + GPU_RESERVE - 1)
    assert choose_residency("auto", size, GPU) == "disk"


def test_processes_share_the_memory_of_their_machine(memory):
    memory(100 * GB, 10 * GB)
    assert choose_residency("auto", 90 * GB, GPU, processes=2) == "host"
    assert choose_residency("auto", 90 * GB, GPU, processes=6) == "disk"


def test_a_process_has_room_for_its_part_of_the_cells(memory):
    memory(100 * GB, 40 * GB)
    assert choose_residency("auto", 100 * GB, GPU, processes=3) == "disk"
    assert choose_residency("auto", 100 * GB, GPU, processes=4) == "gpu"
    assert choose_residency("auto", 100 * GB, GPU, processes=1, nodes=2) == "host"
    assert choose_residency("auto", 100 * GB, GPU, processes=2, nodes=2) == "gpu"


def test_what_is_asked_for_is_taken_where_there_is_room(memory):
    memory(100 * GB, 140 * GB)
    for asked in ("gpu", "host", "disk"):
        assert choose_residency(asked, 80 * GB, GPU) == asked


def test_cells_that_do_not_fit_are_refused_before_they_are_read_with_what_to_choose(memory):
    memory(50 * GB, 60 * GB)
    with pytest.raises(UserError, match=r"residency is host.*host 82\.1 GB of 50\.0.*set it to"):
        choose_residency("host", 80 * GB, CPU)
    with pytest.raises(UserError, match=r"residency is gpu.*gpu 88\.6 GB of 60\.0.*disk or auto"):
        choose_residency("gpu", 80 * GB, GPU)


def test_why_a_place_was_chosen_is_one_line_with_the_figures(memory, caplog):
    memory(100 * GB, 79 * GB)
    with caplog.at_level("INFO"):
        choose_residency("auto", 80 * GB, GPU, given_mb=120_000)
    (line,) = caplog.messages
    assert line == (
        "The cells stay in: host (training.residency auto; they take 80.0 GB; needed: gpu 88.6 GB "
        "of 79.0 GB free, host 82.1 GB of 100.0 GB free, disk 1.6 GB of 100.0 GB free; the job was "
        "given 120.0 GB)"
    )


def test_cells_that_stay_on_disk_because_there_is_no_room_are_warned_of(memory, caplog):
    memory(50 * GB)
    choose_residency("auto", 80 * GB, CPU)
    choose_residency("disk", 80 * GB, CPU)
    assert [record.levelname for record in caplog.records if record.levelno > 20] == ["WARNING"]


@pytest.mark.parametrize("asked", ["auto", "disk", "gpu"])
def test_too_little_memory_for_any_residency_is_said_before_the_first_batch(memory, asked):
    memory(GB, 140 * GB)
    with pytest.raises(UserError, match=r"too little memory to train at all.*disk 1\.6 GB of 1\.0"):
        choose_residency(asked, 80 * GB, GPU, given_mb=1000)


def test_gpu_residency_without_a_gpu_is_refused(memory):
    memory(100 * GB)
    with pytest.raises(UserError, match=r"training\.residency is gpu, but the fit runs on cpu"):
        choose_residency("gpu", GB, CPU)


def test_loading_a_store_takes_no_second_copy_of_it(make_counts, tmp_path, monkeypatch):
    monkeypatch.setattr("hce.store.shards.BATCH_CELLS", 64)
    counts, ids = make_counts(3000, 500, seed=2), np.arange(3000, dtype=np.int64)
    write_shard(tmp_path / "0.arrow", [(ids, counts)])
    cells = pd.DataFrame({"soma_joinid": ids, "label": 0})
    genes = pd.DataFrame({"feature_id": [f"E{i}" for i in range(500)], "feature_name": "g"})
    store = write_store(tmp_path / "store", [tmp_path / "0.arrow"], cells, genes, {})
    store.load()  # what is imported at the first time is not counted
    tracemalloc.start()
    loaded = store.load()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * sum(part.nbytes for part in (loaded.indptr, loaded.genes, loaded.values))
    for part in ("indptr", "genes", "values"):
        np.testing.assert_array_equal(getattr(loaded, part), getattr(counts, part))


@pytest.mark.parametrize(
    ("residency", "kind"),
    [("gpu", ResidentBatches), ("host", Batches), ("disk", StreamedBatches)],
)
def test_every_residency_hands_out_every_cell(store, residency, kind):
    shifts = Augmentation(np.ones((1, 50), dtype=np.float32))
    batches = open_batches(store, residency, 64, CPU, torch.float32, shifts)
    assert isinstance(batches, kind)
    whole = open_batches(store, "host", 64, CPU, torch.float32)
    for (x, y), (other_x, other_y) in zip(batches.in_order(), whole.in_order(), strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)
    shuffled = [(x.clone(), len(y)) for x, y in batches.shuffled(np.random.default_rng(0))]
    assert [size for _, size in shuffled] == [64] * 4
    # +1 or −1 and never below 0: a gene without counts is 1 or 0.
    assert all(
        torch.isin(x[:, :1], torch.tensor([0.0, 1.0])).float().mean() > 0 for x, _ in shuffled
    )


def test_loading_to_a_device_holds_one_block_on_the_host(make_counts, tmp_path, monkeypatch):
    """The device is this machine's memory here, which tracemalloc does not see torch take."""
    monkeypatch.setattr("hce.store.shards.BATCH_CELLS", 64)
    counts, ids = make_counts(3000, 500, seed=2), np.arange(3000, dtype=np.int64)
    write_shard(tmp_path / "0.arrow", [(ids, counts)])
    cells = pd.DataFrame({"soma_joinid": ids, "label": 0})
    genes = pd.DataFrame({"feature_id": [f"E{i}" for i in range(500)], "feature_name": "g"})
    store = write_store(tmp_path / "store", [tmp_path / "0.arrow"], cells, genes, {})
    tracemalloc.start()
    open_batches(store, "gpu", 64, CPU, torch.float32)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.6 * (counts.genes.nbytes + counts.values.nbytes)


@pytest.mark.parametrize(("pins", "trusts"), [(True, True), (True, False), (False, True)])
def test_with_host_residency_a_gpu_reads_pinned_cells_where_that_can_be_trusted(
    store, monkeypatch, pins, trusts
):
    """The GPU is made up; its memory is this machine's."""
    cells = SparseCells.of(store.load())
    kernel = TensorDensifier(50, 64, torch.float32, None, CPU)
    monkeypatch.setattr(module, "pinned", lambda counts, device: cells if pins else None)
    monkeypatch.setattr(module, "kernel_for", lambda *_: kernel if trusts else None)
    monkeypatch.setattr(module, "Batches", lambda *_: "copied")
    batches = open_batches(store, "host", 64, torch.device("cuda"), torch.float32)
    if pins and trusts:
        assert isinstance(batches, ResidentBatches)
        assert batches.cells is cells
    else:
        assert batches == "copied"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_reads_the_same_batches_from_its_own_and_from_pinned_memory(store, dtype, caplog):
    made = {}
    for place in ("gpu", "host"):
        shifts = Augmentation(np.ones((1, 50), dtype=np.float32), dtype, "cuda")
        batches = open_batches(store, place, 64, torch.device("cuda"), dtype, shifts)
        assert isinstance(batches, ResidentBatches)
        epoch = batches.shuffled(np.random.default_rng(5))
        made[place] = [(x.clone(), y.clone()) for x, y in epoch]
    assert caplog.text == ""
    for (x, y), (other_x, other_y) in zip(*made.values(), strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)


def test_gpu_and_host_batches_are_the_same_for_a_seed(store):
    made = [
        [
            x.clone()
            for x, _ in open_batches(store, place, 64, CPU, torch.float32).shuffled(
                np.random.default_rng(5)
            )
        ]
        for place in ("gpu", "host")
    ]
    assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))


@pytest.mark.parametrize(
    ("error", "residency", "sentence"),
    [
        (
            torch.OutOfMemoryError("CUDA"),
            "gpu",
            r"GPU ran out.*batch_size \(now 64\) or set training\.residency to host",
        ),
        (
            torch.OutOfMemoryError("CUDA"),
            "host",
            r"GPU ran out of memory: lower training\.batch_size \(now 64\)\.$",
        ),
        (MemoryError(), "host", r"host ran out.*or set training\.residency to disk"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            "disk",
            r"host ran out of memory: lower .*\)\.$",
        ),
    ],
)
def test_running_out_of_memory_says_what_to_change(error, residency, sentence):
    with pytest.raises(UserError, match=sentence), explaining_memory(residency, 64):
        raise error


def test_torch_says_it_in_the_words_that_are_looked_for():
    with pytest.raises(UserError, match="host ran out"), explaining_memory("host", 64):
        torch.empty(10**15)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"), explaining_memory("host", 64):
        raise RuntimeError("shapes differ")
