"""Results reach stdout, or it is said that they did not; a reader that has seen enough is let go."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from swin_train.cli.output import print_result

REPO = Path(__file__).resolve().parents[3]
CFG = ["--cfg", "swin_tiny_patch4_window7_224"]
COMMANDS = [["config", "show", *CFG], ["config", "help", "TAG"], ["describe", *CFG]]


def run_into(stdout: int, words: list[str], unbuffered: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "main.py", *words],
        cwd=REPO,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )


def run_without_reader(words: list[str], unbuffered: str) -> subprocess.CompletedProcess[str]:
    read, write = os.pipe()
    os.close(read)
    try:
        return run_into(write, words, unbuffered)
    finally:
        os.close(write)


def test_every_process_but_the_main_one_is_silent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    print_result("alone")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        print_result(rank)

    assert capsys.readouterr().out == "alone\n0\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_reader_that_has_left_ends_the_command_in_silence(words: list[str], unbuffered: str) -> None:
    result = run_without_reader(words, unbuffered)

    assert (result.returncode, result.stderr) == (141, "")


def test_a_reader_that_has_left_ends_the_help_in_silence() -> None:
    result = run_without_reader(["--help"], "")

    assert (result.returncode, result.stderr) == (141, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [*COMMANDS, ["--help"]], ids=" ".join)
def test_a_full_disk_is_one_message_and_status_28(words: list[str], unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        result = run_into(full.fileno(), words, unbuffered)

    assert (
        result.stderr == "error: stdout: cannot be written (No space left on device); see to where it leads\n"
    )
    assert result.returncode == 28
