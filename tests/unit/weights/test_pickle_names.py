import os
import pickle
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from swin_train.weights.pickle_names import pickle_names

TENSOR = ["torch._utils._rebuild_tensor_v2", "torch.FloatStorage", "collections.OrderedDict"]


class Call:
    """Pickles as a call of ``function``, which a list of names must not make."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("protocol", range(1, pickle.HIGHEST_PROTOCOL + 1))
def test_every_name_is_listed_once_and_nothing_runs(tmp_path: Path, protocol: int, is_zip: bool) -> None:
    path, trace = tmp_path / "w.pth", str(tmp_path / "it ran")
    calls = [Call(os.mkdir, trace), Call(os.mkdir, trace), Call(os.rmdir, trace), Fraction(1, 2)]
    torch.save({"a": torch.ones(2), "b": calls}, path, pickle, protocol, is_zip)

    found = pickle_names(path)

    assert found == (protocol, [*TENSOR, f"{os.name}.mkdir", f"{os.name}.rmdir", "fractions.Fraction"])
    assert not Path(trace).exists()


def test_a_name_of_a_string_that_was_put_aside_is_found(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(pickle.dumps(["mkdir", os.name, Call(os.mkdir, "x")], protocol=4))

    assert pickle_names(tmp_path / "w.pth") == (4, [f"{os.name}.mkdir"])


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x80\x04\x95", b"PK\x03\x04"])
def test_what_is_no_pickle_has_no_names(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)

    assert pickle_names(tmp_path / "w.pth")[1] == []


def test_an_archive_of_something_else_has_no_names(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("a/other", pickle.dumps(Fraction(1, 2)))

    assert pickle_names(tmp_path / "w.pth") == (0, [])
