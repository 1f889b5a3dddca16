"""Which back end a configuration means."""

import pytest
import torch

from swin_train.config import load_config
from swin_train.data import backends
from swin_train.data.backends import Backend, choose_backend
from swin_train.errors import UserError

_CPU, _GPU = torch.device("cpu"), torch.device("cuda")


def choose(device: torch.device = _CPU, **data: str) -> Backend:
    return choose_backend(load_config(None, [x for k, v in data.items() for x in (f"DATA.{k}", v)]), device)


@pytest.fixture(params=[None, "is not built; run python main.py build-native"])
def problem(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    monkeypatch.setattr(backends, "unavailable", lambda: request.param)
    return request.param


def test_auto_is_native_where_it_is_built_and_portable_elsewhere(problem: str | None) -> None:
    backend = choose()

    assert backend.name == ("portable" if problem else "native")
    assert str(backend) == (
        "portable (the native extension is not built; run python main.py build-native), augmented here"
        if problem
        else "native (the native extension is there), augmented here"
    )


def test_native_that_is_asked_for_and_missing_is_an_error(problem: str | None) -> None:
    if problem is None:
        assert choose(PIPELINE="native").name == "native"
        return
    with pytest.raises(
        UserError, match=r"DATA\.PIPELINE is native, but the native extension is not built; run"
    ):
        choose(PIPELINE="native")


@pytest.mark.parametrize("name", ["portable", "exact", "timm"])
def test_the_others_need_no_extension(name: str, problem: str | None) -> None:
    assert choose(PIPELINE=name).name == name


@pytest.mark.parametrize(
    ("device", "where", "finishes"),
    [
        (_CPU, "auto", True),
        (_GPU, "auto", False),
        (_CPU, "device", False),
        (_GPU, "host", True),
    ],
)
def test_where_portable_and_native_augment(device: torch.device, where: str, finishes: bool) -> None:
    assert choose(device, PIPELINE="portable", AUGMENT_ON=where).finishes is finishes


@pytest.mark.parametrize("name", ["exact", "timm"])
def test_pillow_augments_on_the_host_alone(name: str) -> None:
    assert choose(_GPU, PIPELINE=name).finishes
