"""Files that grow, and what is cut off after a kill."""

import hashlib
import os
from pathlib import Path

import pytest

from swin_train.prepare import disk
from swin_train.prepare.disk import GrowingFile, HashedFile, write_text


def test_what_was_appended_and_not_noted_is_cut_off(tmp_path: Path) -> None:
    part, final, piece = tmp_path / "part", tmp_path / "final", tmp_path / "piece"
    growing = GrowingFile(part, 0, final)
    piece.write_bytes(b"first")
    end = growing.append_file(piece)
    piece.write_bytes(b"lost")
    growing.append_file(piece)

    again = GrowingFile(part, end, final)
    again.append(b" second")

    assert again.commit() == (12, hashlib.sha256(b"first second").hexdigest())
    assert final.read_bytes() == b"first second"
    assert list(tmp_path.iterdir()) == [final]


def test_a_file_that_was_completed_and_not_noted_grows_again(tmp_path: Path) -> None:
    part, final = tmp_path / "part", tmp_path / "final"
    growing = GrowingFile(part, 0, final)
    growing.append(b"data")
    growing.append(b"directory")
    growing.commit()

    again = GrowingFile(part, 4, final)

    assert not final.exists()
    assert again.read(0, 10) == b"data"
    again.append(b"directory")
    assert again.commit() == (13, hashlib.sha256(b"datadirectory").hexdigest())


def test_files_are_flushed_before_they_get_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        steps.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def note_replace(self: Path, target: Path) -> Path:
        steps.append(f"{self.name} -> {Path(target).name}")
        return replace(self, target)

    monkeypatch.setattr(disk.os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    folder = tmp_path.name

    with HashedFile(tmp_path / "half") as file:
        file.write(b"x")
        file.commit(tmp_path / "whole")
    write_text(tmp_path / "text", "x")
    growing = GrowingFile(tmp_path / "part", 0, tmp_path / "final")
    growing.append(b"x")
    growing.commit()

    assert steps == [
        "fsync half", "half -> whole", f"fsync {folder}",
        "fsync .text.tmp", ".text.tmp -> text", f"fsync {folder}",
        "fsync part", "part -> final", f"fsync {folder}",
    ]  # fmt: skip


def test_a_file_system_that_cannot_be_flushed_is_an_error(tmp_path: Path) -> None:
    disk.flush_all(tmp_path)

    with pytest.raises(FileNotFoundError):
        disk.flush_all(tmp_path / "none")
