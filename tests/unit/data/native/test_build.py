"""The extension is compiled in one step, into a file that belongs to its sources; what is missing is named."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from swin_train.data.native import build, library
from swin_train.errors import UserError

SOURCES = Path(build.__file__).parent


@pytest.fixture
def copied_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one source to be compiled, and an empty cache folder."""
    folder = tmp_path / "native"
    folder.mkdir()
    (folder / "one.c").write_text("int sw_one(void) { return 1; }\n")
    monkeypatch.setattr(build, "_SOURCES", folder)
    monkeypatch.setenv("SWIN_TRAIN_CACHE", str(tmp_path / "cache"))
    return folder


def fake_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    path = tmp_path / "fakecc"
    path.write_text(f"#!/bin/sh\necho '{message}' >&2\nexit 1\n")
    path.chmod(0o755)
    monkeypatch.setenv("CC", str(path))


def test_another_source_makes_another_library(copied_sources: Path) -> None:
    assert build.library_path() is None
    first = build.compile_library()
    assert build.library_path() == first

    (copied_sources / "one.c").write_text("int sw_one(void) { return 2; }\n")

    assert build.library_path() is None
    assert build.compile_library() != first
    assert [path.suffix for path in copied_sources.iterdir() if path.suffix not in (".c", ".so")] == []


def test_another_header_makes_another_library(copied_sources: Path) -> None:
    first = build.compile_library()

    (copied_sources / "one.h").write_text("")

    assert build.compile_library() != first


def test_a_folder_that_cannot_be_written_leaves_the_cache(
    copied_sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path) != copied_sources and access(path, mode)
    )  # root may write anywhere

    path = build.compile_library()

    assert path.parent == tmp_path / "cache" / "native"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert build.library_path() == path


def test_a_missing_compiler_is_named_with_the_packages_that_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -m64")

    with pytest.raises(
        UserError, match=r"'no-such-compiler' is not there.*apt-get install gcc.*conda install"
    ):
        build.compile_library()


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (
            "jpeg.c:6:10: fatal error: jpeglib.h: No such file",
            "libjpeg-turbo with its header.*libjpeg-dev.*conda",
        ),
        ("ld: cannot find -ljpeg", "libjpeg-turbo with its header jpeglib.h is not there"),
        ("error: JCS_EXT_RGBX undeclared", "is not libjpeg-turbo"),
        ("fatal error: stdlib.h: No such file", "the C library's headers are not there"),
        ("something else", "status 1.*\n.*something else"),
    ],
)
def test_what_the_compiler_misses_is_explained(
    copied_sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, answer: str
) -> None:
    fake_compiler(tmp_path, monkeypatch, message)

    with pytest.raises(UserError, match=answer):
        build.compile_library()

    assert sorted(path.name for path in copied_sources.iterdir()) == ["one.c"]


def test_it_compiles_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "native"
    shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns("*.so", "*.py", "__pycache__"))
    monkeypatch.setattr(build, "_SOURCES", folder)
    monkeypatch.setenv("CFLAGS", "-Werror -O0")

    assert build.compile_library().parent == folder


def test_what_is_not_built_says_how(copied_sources: Path) -> None:
    library._library.cache_clear()
    try:
        assert library.unavailable() == "is not built; run python main.py build-native"
        with pytest.raises(UserError, match="the native extension is not built"):
            library.Pool(1)
    finally:
        library._library.cache_clear()


def test_what_cannot_be_loaded_says_why(copied_sources: Path) -> None:
    build.compile_library().write_bytes(b"no library")
    library._library.cache_clear()
    try:
        assert str(library.unavailable()).startswith("cannot be loaded (")
    finally:
        library._library.cache_clear()
