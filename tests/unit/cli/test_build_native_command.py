"""``main.py build-native`` compiles the extension and says where it is."""

from pathlib import Path

import pytest

from swin_train.cli.main import main
from swin_train.data.native import build


def test_it_says_where_the_library_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.c").write_text("int sw_one(void) { return 1; }\n")
    monkeypatch.setattr(build, "_SOURCES", tmp_path)

    assert main(["build-native"]) == 0

    path = Path(capsys.readouterr().out.removeprefix("built ").strip())
    assert path.parent == tmp_path
    assert path.read_bytes()[:4] == b"\x7fELF"


def test_without_a_compiler_it_ends_with_the_packages_that_have_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")

    assert main(["build-native"]) == 2

    error = capsys.readouterr().err
    assert error.startswith("error: build-native: the C compiler 'no-such-compiler' is not there.")
    assert "apt-get install gcc libc6-dev libjpeg-dev" in error


def test_its_help_names_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build-native", "--help"]) == 0

    text = capsys.readouterr().out
    assert "libjpeg-turbo" in text
    assert "python main.py build-native" in text
