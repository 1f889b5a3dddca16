"""Reading runs nothing that a file brings along."""

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from swin_train.errors import UserError
from swin_train.weights.read import read_weights

STATE = {"norm.weight": torch.arange(3.0), "head.bias": torch.ones(2)}


class Global:
    """Pickles as a function that unpickling would find by its name, and calls with ``arguments``."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __call__(self) -> None:
        """What is called when it is read must look as if it could be when it is written."""

    def __reduce__(self) -> tuple:
        return self.function, self.arguments


def system(command: str) -> Global:
    return Global(os.system, command)


def getattr_chain(command: str) -> Global:
    """getattr(__import__("os"), "system")(command): no name of a dangerous module stands in the file."""
    return Global(Global(getattr, Global(__import__, "os"), "system"), command)


def class_outside_the_list(command: str) -> Fraction:
    del command
    return Fraction(1, 2)


MALICIOUS = pytest.mark.parametrize(
    ("make", "asked_for"),
    [
        (system, f"{os.name}.system"),
        (getattr_chain, r"builtins.__import__, builtins.getattr"),
        (class_outside_the_list, "fractions.Fraction"),
    ],
)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@MALICIOUS
def test_a_file_that_would_run_code_is_refused_by_name_and_nothing_runs(
    tmp_path: Path, make: Callable[[str], object], asked_for: str, protocol: int, is_zip: bool
) -> None:
    trace = tmp_path / "it ran"
    content = {"model": STATE, "extra": make(f"touch '{trace}'")}
    torch.save(content, tmp_path / "w.pth", pickle, protocol, is_zip)

    message = rf"w.pth: refused, because reading it would run code: {asked_for}\. .* best as .safetensors, where you"
    with pytest.raises(UserError, match=message):
        read_weights(tmp_path / "w.pth")
    assert not trace.exists()


@pytest.mark.filterwarnings("error")  # torch's own words on protocols would come before ours
@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("protocol", [0, 1, 4, 5])
def test_a_file_of_data_of_another_pickle_protocol_is_refused_saying_so(
    tmp_path: Path, protocol: int, is_zip: bool
) -> None:
    data = {
        "size": torch.Size([2]),
        "dtype": torch.float32,
        "names": {"a"},
        "code": b"1",
        "more": OrderedDict(a=1),
    }
    file = tmp_path / "w.pth"
    torch.save({"model": STATE, **data}, file, pickle, protocol, is_zip)

    message = (
        rf"w.pth: was saved with pickle protocol {protocol}, which the safe reader does not take; save it again with "
        "torch.save's default, or as .safetensors, where you trust it"
    )
    with pytest.raises(UserError, match=message):
        read_weights(file)


@pytest.mark.filterwarnings("error")
def test_a_file_of_pickle_protocol_3_is_read_as_long_as_torch_can(tmp_path: Path) -> None:
    torch.save({"model": STATE}, tmp_path / "w.pth", pickle_protocol=3)
    torch.save({"model": STATE, "code": b"1"}, tmp_path / "more.pth", pickle_protocol=3)

    assert read_weights(tmp_path / "w.pth").state.keys() == STATE.keys()
    with pytest.raises(UserError, match=r"more.pth: was saved with pickle protocol 3, which the safe reader"):
        read_weights(tmp_path / "more.pth")


@pytest.mark.parametrize("make", [system, getattr_chain])
def test_those_files_would_run_code_where_nothing_refuses(
    tmp_path: Path, make: Callable[[str], object]
) -> None:
    """That the test above tests something."""
    trace = tmp_path / "it ran"
    torch.save({"extra": make(f"touch '{trace}'")}, tmp_path / "w.pth")

    torch.load(tmp_path / "w.pth", weights_only=False)

    assert trace.exists()


def test_a_bare_pickle_is_refused_by_name_and_nothing_runs(tmp_path: Path) -> None:
    trace = tmp_path / "it ran"
    (tmp_path / "w.pth").write_bytes(b"cposix\nsystem\n(S'touch \"" + bytes(trace) + b"\"'\ntR.")

    with pytest.raises(UserError, match=r"w.pth: refused, because reading it would run code: posix.system"):
        read_weights(tmp_path / "w.pth")
    assert not trace.exists()
