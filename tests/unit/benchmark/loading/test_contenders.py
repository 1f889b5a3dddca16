"""Every contender loads what it says."""

import sys
from collections.abc import Callable

import pytest

from swin_train.benchmark.loading.bench import Bench, Load
from swin_train.benchmark.loading.contenders import CONTENDERS
from swin_train.data.native.library import unavailable
from swin_train.errors import UserError

_WITHOUT_A_COMPILER = ("official", "timm-prefetcher", "timm", "exact", "portable-host", "portable-device")
USABLE = [*_WITHOUT_A_COMPILER, *([] if unavailable() else ["native-host", "native-device"])]


@pytest.mark.parametrize("name", USABLE)
def test_a_pass_of_training_gives_all_images(make_bench: Callable[..., Bench], name: str) -> None:
    load = CONTENDERS[name].make(make_bench(), Load(threads=0))

    assert [load(0), load(1)] == [12, 12]


@pytest.mark.parametrize("name", [name for name in USABLE if name != "timm"])
def test_a_pass_of_evaluation_gives_all_images(make_bench: Callable[..., Bench], name: str) -> None:
    load = CONTENDERS[name].make(make_bench(is_eval=True), Load(threads=0))

    assert load(0) == 12


@pytest.mark.parametrize("name", ["official", "portable-device"])
def test_each_thread_has_its_own_images(make_bench: Callable[..., Bench], name: str) -> None:
    assert CONTENDERS[name].make(make_bench(), Load(threads=2))(0) == 24


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("dali", "nvidia.dali", "DALI is not installed"),
        ("ffcv", "ffcv", "FFCV is not installed"),
        ("packed-host", "", "no packed images are given; name their folder by --packed"),
    ],
)
def test_what_is_not_there_is_said(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, name: str, module: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(UserError, match=message):
        CONTENDERS[name].make(make_bench(), Load(1))
