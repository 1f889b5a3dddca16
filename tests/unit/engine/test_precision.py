"""Which dtype a run computes in."""

import json

import pytest
import torch

from swin_train.config import load_config
from swin_train.engine.precision import LossScale, choose_precision
from swin_train.errors import UserError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def choose(device, *overrides):
    return choose_precision(load_config(None, list(overrides)), device)


@pytest.fixture(params=[True, False], ids=["has bf16", "has no bf16"])
def has_bf16(request, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: request.param)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Old GPU")
    return request.param


def test_auto_on_a_gpu_is_bf16_where_it_has_it(has_bf16):
    precision = choose(CUDA)

    assert precision.name == ("bf16" if has_bf16 else "fp16")


def test_auto_on_a_cpu_is_float32():
    precision = choose(CPU)

    assert precision.name == "fp32"
    with precision.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize("off", [("AMP_ENABLE", "False"), ("AMP_OPT_LEVEL", "O0")])
def test_the_references_switches_turn_it_off(has_bf16, off):
    assert choose(CUDA, *off).name == "fp32"


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_autocast_computes_in_the_dtype(name, dtype):
    with choose(CPU, "AMP_DTYPE", name).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_only_fp16_scales_its_loss():
    names = ("fp16", "bf16", "fp32", "fp64")
    scales = [choose(CPU, "AMP_DTYPE", name).loss_scale(CPU) for name in names]

    assert [scale.is_enabled for scale in scales] == [True, False, False, False]
    assert [scale.value.item() for scale in scales] == [65536.0, 1.0, 1.0, 1.0]


def test_float64_is_everywhere():
    precision = choose(CPU, "AMP_DTYPE", "fp64")

    assert (precision.input_dtype, precision.parameter_dtype) == (torch.float64, torch.float64)
    with precision.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32  # nothing is cast


def test_the_loss_scale_halves_at_an_overflow_and_doubles_after_2000_updates_without():
    scale = LossScale(CPU, is_enabled=True)
    bad, good = torch.tensor(True), torch.tensor(False)

    scale.update(bad)
    assert scale.value.item() == 32768.0
    for _ in range(1999):
        scale.update(good)
    assert scale.value.item() == 32768.0
    scale.update(good)
    assert scale.value.item() == 65536.0


def test_the_loss_scale_goes_on_where_it_was_saved():
    scale, resumed = LossScale(CPU, is_enabled=True), LossScale(CPU, is_enabled=True)
    good = torch.tensor(False)
    for is_bad in (True, *[False] * 1500):
        scale.update(torch.tensor(is_bad))

    resumed.restore(json.loads(json.dumps(scale.numbers())))

    for _ in range(500):
        scale.update(good)
        resumed.update(good)
    assert resumed.value.item() == scale.value.item() == 65536.0


def test_bf16_on_a_gpu_without_it_is_an_error(has_bf16):
    if has_bf16:
        assert choose(CUDA, "AMP_DTYPE", "bf16").name == "bf16"
    else:
        with pytest.raises(UserError, match="AMP_DTYPE is bf16, but Old GPU cannot compute in it"):
            choose(CUDA, "AMP_DTYPE", "bf16")
