import sys
import types

import pytest

from swin_train.kernels.apex import apex_class


def test_absent_apex_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apex", None)

    assert apex_class("apex.optimizers", "FusedAdam") is None


def test_another_package_called_apex_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apex", types.ModuleType("apex"))

    assert apex_class("apex.optimizers", "FusedAdam") is None


def test_nvidia_s_apex_gives_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("apex.optimizers")
    module.FusedAdam = dict
    monkeypatch.setitem(sys.modules, "apex", types.ModuleType("apex"))
    monkeypatch.setitem(sys.modules, "apex.optimizers", module)

    assert apex_class("apex.optimizers", "FusedAdam") is dict
