"""The environment of a process, and the device it asks for."""

import pytest
import torch

from swin_train.config import load_config
from swin_train.distributed.launch import choose_device, launch, read_environment
from swin_train.errors import UserError

TORCHRUN = {
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}


def test_without_torchrun_there_is_one_process():
    assert read_environment({"PATH": "/bin"}) == (0, 0, 1)


def test_torchrun_environment_is_read():
    assert read_environment(TORCHRUN) == (3, 1, 4)


@pytest.mark.parametrize("missing", ["RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_a_missing_variable_is_named(missing):
    environment = {name: value for name, value in TORCHRUN.items() if name != missing}

    with pytest.raises(UserError, match=rf"but {missing} not set; start with torchrun"):
        read_environment(environment)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"RANK": "4"}, r"RANK must be from 0 to WORLD_SIZE - 1 = 3"),
        ({"LOCAL_RANK": "2"}, r"below LOCAL_WORLD_SIZE = 2"),
        ({"RANK": "0", "LOCAL_RANK": "1"}, r"not above RANK"),
        ({"WORLD_SIZE": "two"}, r"WORLD_SIZE=two, .*each must be a whole number"),
        ({"LOCAL_WORLD_SIZE": "abc"}, r"LOCAL_WORLD_SIZE=abc; each must be a whole number"),
    ],
)
def test_a_contradiction_is_an_error(change, message):
    with pytest.raises(UserError, match=message):
        read_environment(TORCHRUN | change)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a device that is there")
def test_a_device_that_is_not_there_is_an_error():
    with pytest.raises(UserError, match="DEVICE is cuda, but torch sees no CUDA device"):
        choose_device("cuda", 0)


def test_more_processes_than_cuda_devices_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    assert choose_device("auto", 1) == torch.device("cuda", 1)
    with pytest.raises(UserError, match=r"LOCAL_RANK=2, but this machine has 2 CUDA device"):
        choose_device("auto", 2)


def test_the_callers_torch_is_left_as_it_was():
    before = torch.random.get_rng_state()

    with launch(load_config(None, ["DETERMINISTIC", "True", "DEVICE", "cpu"])):
        assert torch.are_deterministic_algorithms_enabled()
        torch.manual_seed(1)

    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="asks for a device that is there")
def test_mps_that_is_not_there_is_an_error():
    with pytest.raises(UserError, match="DEVICE is mps"):
        choose_device("mps", 0)
