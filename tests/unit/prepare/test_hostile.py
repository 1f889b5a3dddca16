"""Whatever an archive calls its members, nothing is written but regular files below OUT, under names made here."""

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

from swin_train.cli.main import main

OUTSIDE = (
    "../../pwned_1.JPEG",
    "/tmp/pwned-by-tar.JPEG",
    "a/../../../pwned_2.JPEG",
    "..",
    "C:\\pwned.JPEG",
    "\x1b[2J.JPEG",
)
LINKS = (
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
    tarfile.DIRTYPE,
)


def tar_of(members: list[tuple[str, bytes]], folder: Path) -> bytes:
    """A tar archive of files, after links to and devices of the names that they have."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for number, kind in enumerate(LINKS):
            special = tarfile.TarInfo(f"link_{number}.JPEG")
            special.type, special.linkname = kind, str(folder / "victim")
            tar.addfile(special)
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o6777
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def hostile(tmp_path: Path, picture: Callable[..., bytes]) -> Path:
    """An archive of the form of ILSVRC2012_img_train.tar, whose classes and images are called as attackers would."""
    (tmp_path / "victim").write_text("untouched")
    images = [(name, picture(number)) for number, name in enumerate(OUTSIDE)]
    classes = ["n01.tar", "../../n02.tar", "/n03.tar", "....tar", "-rf.tar", "a\nb.tar"]
    members = [(name, tar_of(images, tmp_path)) for name in classes]
    path = tmp_path / "hostile.tar"
    path.write_bytes(tar_of(members, tmp_path))
    return path


def below(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path that is there, links not followed, with its kind and size."""
    return {str(path): (path.lstat().st_mode, path.lstat().st_size) for path in folder.rglob("*")}


def names_in(out: Path) -> Iterator[str]:
    """Names of the members of the archives that were written."""
    for path in out.glob("*.tar"):
        with tarfile.open(path) as tar:
            assert all(member.isreg() and member.mode == 0o644 for member in tar)
            yield from tar.getnames()
    for path in out.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            yield from archive.namelist()


@pytest.mark.parametrize("to", ["folder", "zip", "shards"])
def test_an_archive_that_wants_out_stays_in(
    hostile: Path, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here/deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here/deep")
    outside, out = below(tmp_path), tmp_path / "here/out"

    assert main(["prepare-data", str(hostile), str(out), "--to", to]) == 0

    written = {path: fact for path, fact in below(tmp_path).items() if path not in outside}
    assert all(Path(path).is_relative_to(out) for path in written)
    assert {path: fact for path, fact in below(tmp_path).items() if path in outside} == outside
    assert {stat.S_IFMT(mode) for mode, _ in written.values()} <= {stat.S_IFREG, stat.S_IFDIR}
    assert not any(mode & (stat.S_ISUID | stat.S_ISGID) for mode, _ in written.values())
    assert not os.path.lexists("/tmp/pwned-by-tar.JPEG")
    for name in [*map(str, (Path(path).relative_to(out) for path in written)), *names_in(out)]:
        assert name.isprintable()
        assert not PurePosixPath(name).is_absolute()
        assert not {"..", "C:\\pwned.JPEG"} & set(PurePosixPath(name).parts)


def test_a_link_in_the_place_of_what_is_written_is_not_followed(
    hostile: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "train.zip").symlink_to(tmp_path / "victim")

    assert main(["prepare-data", str(hostile), str(out), "--to", "zip"]) == 2

    assert "train.zip" in capsys.readouterr().err
    assert (tmp_path / "victim").read_text() == "untouched"
