"""Fits on one machine take a GPU each; torch's view of the GPUs is replaced here."""

import os

import pytest
import torch

from hce.training import device as module
from hce.training import launch
from hce.training.device import prepare_device, take_gpus
from hce.training.fit import FitSpec


@pytest.fixture
def gpus(monkeypatch, tmp_path):
    """Pretends that a machine has so many GPUs and that nobody uses them."""
    monkeypatch.setattr(module, "_taken", [])
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def have(number):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)

    yield have
    for lock in module._taken:
        os.close(lock)


def test_two_fits_of_one_machine_take_two_gpus(gpus, caplog):
    gpus(2)
    assert [prepare_device("auto", 1).index for _ in range(2)] == [0, 1]
    assert prepare_device("cuda", 1).index == 0
    assert "0 of the 2 GPUs of this machine are free" in caplog.text


def test_a_gpu_is_free_again_when_its_fit_has_ended(gpus):
    gpus(2)
    prepare_device("auto", 1)
    os.close(module._taken.pop())  # as the system does when a process ends
    assert prepare_device("auto", 1).index == 0


def test_jobs_that_were_given_different_gpus_do_not_wait_for_each_other(gpus, monkeypatch):
    gpus(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert prepare_device("auto", 1).index == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,MIG-abc/7/0")
    assert [prepare_device("auto", 1).index for _ in range(2)] == [0, 1]


def test_two_users_take_two_gpus_where_nobody_may_create_over_a_file_of_another(
    gpus, monkeypatch, tmp_path
):
    """Linux refuses it in /tmp (fs.protected_regular); os.open stands in for it here."""
    gpus(3)
    really_open = os.open

    def protecting_open(path, flags, mode=0o777):
        exists = os.path.exists(path)
        if str(path).endswith("-1.lock"):
            raise PermissionError(13, "Permission denied", str(path))
        if exists and flags & os.O_CREAT and not flags & os.O_EXCL:
            raise PermissionError(13, "Permission denied", str(path))
        return really_open(path, flags, mode)

    monkeypatch.setattr(os, "open", protecting_open)
    previous = os.umask(0o077)
    try:
        assert [prepare_device("auto", 1).index for _ in range(2)] == [0, 2]
    finally:
        os.umask(previous)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o644}
    os.close(module._taken.pop(0))
    assert prepare_device("auto", 1).index == 0


def test_the_gpu_that_a_job_was_given_is_taken_as_it_is(gpus):
    gpus(1)
    assert prepare_device("auto", 1) == torch.device("cuda")
    assert prepare_device("cuda:0", 1) == torch.device("cuda:0")
    assert module._taken == []


def test_fits_of_several_processes_each_tell_theirs_of_free_gpus(gpus, monkeypatch, tmp_path):
    gpus(5)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    prepare_device("cuda", 1)
    started = []

    class Ended:
        def __init__(self, command, env, **files):
            started.append(env["CUDA_VISIBLE_DEVICES"])

        def wait(self):
            return 0

    monkeypatch.setattr(launch.subprocess, "Popen", Ended)
    spec = FitSpec(**dict.fromkeys(FitSpec.__dataclass_fields__) | {"model_path": tmp_path / "m"})
    for _ in range(2):
        launch.run_processes(spec, "auto", devices=2, nodes=1, threads=2, log=tmp_path / "log")
    assert started == ["1,2", "3,4"]


def test_processes_of_a_fit_leave_the_locks_to_the_one_that_started_them(gpus, caplog):
    gpus(2)
    take_gpus(2)
    assert prepare_device("auto", 1, take=False).type == "cuda"
    assert caplog.text == ""


def test_a_fit_that_finds_too_few_free_gpus_shares_some(gpus, caplog):
    gpus(3)
    assert take_gpus(2) == [(0, "0"), (1, "1")]
    assert take_gpus(2) == [(2, "2"), (0, "0")]
    assert "1 of the 3 GPUs of this machine are free, and this fit takes 2: sharing GPU 0" in (
        caplog.text
    )
