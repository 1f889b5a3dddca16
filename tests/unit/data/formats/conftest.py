"""Small data sets for the tests of the formats."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, str | bytes]], Path]:
    """Writes files below the data path, which it returns."""

    def write(files: dict[str, str | bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path

    return write


@pytest.fixture
def write_zip(tmp_path: Path) -> Callable[..., Path]:
    """Writes SPLIT.zip, of members by name, and SPLIT_map.txt into the data path, which it returns."""

    def write(
        members: dict[str, bytes], lines: str, split: str = "train", method: int = zipfile.ZIP_STORED
    ) -> Path:
        with zipfile.ZipFile(tmp_path / f"{split}.zip", "w", method) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        (tmp_path / f"{split}_map.txt").write_text(lines)
        return tmp_path

    return write


@pytest.fixture
def write_tar() -> Callable[..., Path]:
    """Writes a tar file of members by name, and returns its path."""

    def write(path: Path, members: Mapping[str, bytes], kind: int = tarfile.PAX_FORMAT) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w", format=kind) as archive:
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return path

    return write
