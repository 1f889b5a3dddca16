from pathlib import Path

import pytest
import torch

from swin_train.errors import UserError
from swin_train.weights.damage import describe_damage
from swin_train.weights.read import read_weights
from swin_train.weights.write import write_weights

STATE = {"norm.weight": torch.arange(3.0), "head.bias": torch.ones(2)}


def save_as(kind: str, path: Path) -> bytes:
    state = STATE | {"norm.bias": torch.zeros(100)}
    if kind == "safetensors":
        write_weights(path, state, {})
    else:
        torch.save({"model": state}, path, _use_new_zipfile_serialization=kind == "zip")
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["zip", "older", "safetensors"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    whole = save_as(kind, path)
    path.write_bytes(whole[: int(len(whole) * share)])

    with pytest.raises(
        UserError, match=r"is truncated, it ends before what it says it holds; copy or download"
    ):
        read_weights(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_an_empty_file_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"w{suffix}").touch()

    with pytest.raises(UserError, match=rf"w{suffix}: is empty, 0 bytes; copy or download it again"):
        read_weights(tmp_path / f"w{suffix}")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("text", ["<!DOCTYPE html>\n<html>", "version https://git-lfs.github.com/spec/v1\n"])
def test_text_in_the_place_of_weights_is_shown(tmp_path: Path, suffix: str, text: str) -> None:
    (tmp_path / f"w{suffix}").write_text(text)

    with pytest.raises(
        UserError, match=rf"w{suffix}: is text, not weights; it begins with '{text[:7]}.*; copy"
    ):
        read_weights(tmp_path / f"w{suffix}")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content",
    [
        bytes(range(256)),
        b"\x02" + bytes(7) + b"[]",
        b"\x0c" + bytes(7) + b'{"a": {"b":1',
        b"\x02" + bytes(7) + b"{}" + b"\xff" * 9,
    ],
)
def test_anything_else_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"w{suffix}").write_bytes(content)

    with pytest.raises(
        UserError, match=r"cannot be read as a checkpoint, it is damaged or of another kind \(.*; copy"
    ):
        read_weights(tmp_path / f"w{suffix}")


def test_a_file_that_vanishes_says_so(tmp_path: Path) -> None:
    """As one that may not be read does; tests may run as one who may read everything."""
    words = describe_damage(tmp_path / "w.pth", RuntimeError())

    assert words.startswith("cannot be read (")
    assert "No such file" in words
