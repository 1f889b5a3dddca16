"""Where converted weights are written, and that nothing is lost there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from swin_train.engine import huggingface_folder
from swin_train.engine.convert import convert
from swin_train.errors import StorageError
from swin_train.models.build import build_model


def test_an_unknown_layout_is_refused(fail: Callable, published: Path, tmp_path: Path) -> None:
    assert fail(published, tmp_path / "w.pth", "mmpretrain") == (
        "--to: 'mmpretrain' is no layout of weights; choose among official, timm, torchvision, huggingface"
    )


@pytest.mark.parametrize(
    ("name", "to", "advice"),
    [
        ("w.bin", "timm", "the name must end in .safetensors or .pth"),
        ("w", "timm", "the name must end in .safetensors or .pth"),
        (
            "w.pt",
            "huggingface",
            "the name must end in .safetensors or .pth, or for a folder in nothing of the kind",
        ),
    ],
)
def test_an_ending_that_tells_no_format(
    fail: Callable, published: Path, name: str, to: str, advice: str, tmp_path: Path
) -> None:
    assert fail(published, tmp_path / name, to) == f"{tmp_path / name}: cannot tell the format; {advice}"


def test_a_folder_in_the_way_of_a_file(fail: Callable, published: Path, tmp_path: Path) -> None:
    (tmp_path / "w.pth").mkdir()

    assert "w.pth: is a folder, and a file is to be written" in fail(published, tmp_path / "w.pth", "timm")


def test_a_file_in_the_way_of_a_folder(fail: Callable, published: Path, tmp_path: Path) -> None:
    (tmp_path / "hf").touch()

    message = fail(published, tmp_path / "hf", "huggingface", overwrite=True)

    assert message == f"{tmp_path}/hf: is a file, and a folder is to be written; choose another name"


def test_a_place_in_no_folder(fail: Callable, published: Path, tmp_path: Path) -> None:
    out = tmp_path / "none/w.pth"

    assert (
        fail(published, out, "timm") == f"{out}: there is no folder {out.parent} to write into; make it first"
    )


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "hf"])
def test_nothing_is_overwritten_unless_asked_for(
    tiny: Callable,
    save_published: Callable,
    fail: Callable,
    published: Path,
    family: str,
    name: str,
    tmp_path: Path,
) -> None:
    to, out, cfg = "huggingface", tmp_path / name, tiny(family)
    convert(published, out, to, cfg=cfg)
    there = out / "model.safetensors" if out.is_dir() else out
    old = there.read_bytes()
    other = save_published(tmp_path / "other.pth", build_model(cfg, num_classes=3))

    assert fail(other, out, to, cfg=cfg) == (
        f"{there}: exists already; choose another name, or replace it with --overwrite"
    )
    assert there.read_bytes() == old

    convert(other, out, to, cfg=cfg, overwrite=True)
    assert there.read_bytes() != old


@pytest.mark.parametrize("before", [[], ["README.md"]])
def test_a_folder_may_be_called_anything_that_no_file_of_weights_is(
    tiny: Callable,
    published: Path,
    family: str,
    huggingface_files: list[str],
    before: list[str],
    tmp_path: Path,
) -> None:
    out = tmp_path / "swin-1.0"
    for name in before:
        out.mkdir()
        (out / name).touch()

    convert(published, out, "huggingface", cfg=tiny(family))

    assert sorted(path.name for path in out.iterdir()) == [*before, *huggingface_files]


def test_a_folder_whose_weights_were_not_written_has_no_description(
    tiny: Callable, published: Path, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, cfg = tmp_path / "hf", tiny(family)
    convert(published, out, "huggingface", cfg=cfg)

    def fail(*arguments: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(huggingface_folder, "write_weights", fail)
    with pytest.raises(StorageError, match="the disk is full"):
        convert(published, out, "huggingface", cfg=cfg, overwrite=True)

    assert [path.name for path in out.iterdir()] == ["model.safetensors"]
