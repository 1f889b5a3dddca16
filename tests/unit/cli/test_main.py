"""``main`` finds the command, and turns errors into one message and an exit status."""

import errno
import os
import shlex
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swin_train.cli import describe, evaluate, train
from swin_train.cli.main import COMMANDS, main
from swin_train.errors import DataError

REPO = Path(__file__).resolve().parents[3]
CFG = ["--cfg", "swin_tiny_patch4_window7_224"]
EVAL = ["--resume", "x.pth"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which part was called; the part itself is replaced."""
    calls: list[str] = []
    for where in ("engine.train", "engine.evaluate", "benchmark.model.throughput"):
        name = where.rpartition(".")[2]
        module = types.ModuleType(f"swin_train.{where}")
        setattr(module, name, lambda cfg, name=name: calls.append(name) or 1.0)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (CFG, "train"),
        (["train", *CFG], "train"),
        (["--eval", *CFG, *EVAL], "evaluate"),
        (["eval", *CFG, *EVAL], "evaluate"),
        (["--throughput", *CFG], "throughput"),
        ([*CFG, "--opts", "THROUGHPUT_MODE", "True"], "throughput"),
    ],
)
def test_a_command_line_starts_its_part(argv: list[str], part: str, started: list[str]) -> None:
    assert main(argv) == 0
    assert started == [part]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], "error: main.py: unknown command 'trian'; did you mean train?\n"),
        (
            ["xyzzy"],
            f"error: main.py: unknown command 'xyzzy'; there are {', '.join(COMMANDS)}\n",
        ),
        (["train", *CFG, "--eval"], "error: main.py train: unknown flag --eval; see main.py train --help\n"),
        (["eval", *CFG], "--eval needs the checkpoint to evaluate: give --resume PATH\n"),
        (
            ["train", *CFG, "--opts", "THROUGHPUT_MODE", "1"],
            ":\n  - --opts: THROUGHPUT_MODE must be true or false; got 1\n",
        ),
        (
            ["train", *CFG, "--opts", "THROUGHPUT_MODE", "true"],
            "main.py train: EVAL_MODE or THROUGHPUT_MODE is set; leave both out, or leave out `train`\n",
        ),
    ],
)
def test_a_mistake_is_one_message_and_status_2(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str], started: list[str]
) -> None:
    assert main(argv) == 2
    assert capsys.readouterr().err.endswith(message)
    assert started == []


def fail(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def command(argv: Any) -> int:
        raise error

    monkeypatch.setitem(COMMANDS, "train", command)


def test_an_error_has_its_own_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(monkeypatch, DataError("a.png: is damaged"))

    assert main(["train"]) == 5
    assert capsys.readouterr().err == "error: a.png: is damaged\n"


@pytest.mark.parametrize(
    ("rank", "message"), [("0", "[rank 0] error: one\ntwo\n"), ("3", "[rank 3] error: one\n")]
)
def test_each_rank_says_who_it_is(
    rank: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "4")
    fail(monkeypatch, DataError("one\ntwo"))

    main(["train"])

    assert capsys.readouterr().err == message


def test_an_interrupt_is_one_line_and_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(monkeypatch, KeyboardInterrupt())

    assert main(["train"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("code", [errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EACCES])
def test_a_path_that_cannot_be_used_is_one_message_and_status_2(
    code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(monkeypatch, OSError(code, os.strerror(code), "a.pth"))

    assert main(["train"]) == 2
    assert capsys.readouterr().err == (
        f"error: a.pth: cannot be used ({os.strerror(code)}); give another path, or see to its permissions\n"
    )


@pytest.mark.parametrize("name", ["log.txt", None])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_message_and_status_28(
    code: int, name: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(monkeypatch, OSError(code, os.strerror(code), name))

    assert main(["train"]) == 28
    assert capsys.readouterr().err == (
        f"error: {name or 'a file'}: cannot be written ({os.strerror(code)}); see to free space\n"
    )


@pytest.mark.parametrize(
    "error",
    [BrokenPipeError(), FileNotFoundError(errno.ENOENT, "gone", "a.py"), PermissionError(errno.EACCES, "no")],
)
def test_other_errors_keep_their_traceback(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, error)

    with pytest.raises(type(error)):
        main(["train"])


def test_no_arguments_print_the_help_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage: main.py")


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["train", "-h"],
        ["eval", "-h"],
        ["convert", "-h"],
        ["describe", "-h"],
        ["config", "help"],
        ["--version"],
    ],
)
def test_help_imports_no_torch_and_is_fast(argv: list[str]) -> None:
    code = (
        f"import sys; from swin_train.cli.main import main; status = main({argv!r});"
        "sys.exit(status or 'torch' in sys.modules)"
    )

    start = time.perf_counter()
    result = run_python(code)
    seconds = time.perf_counter() - start

    assert result.returncode == 0, result.stderr
    assert result.stdout
    assert seconds < 5  # about 0.15 on a quiet machine; this one may be busy


@pytest.mark.parametrize("parser", [train.parser, train.flat_parser, evaluate.parser, describe.parser])
def test_the_examples_are_taken_by_their_parser(
    parser: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPO)
    lines = (parser().epilog or "").replace("\\\n", " ").splitlines()
    commands = [shlex.split(line.partition("main.py")[2]) for line in lines if "main.py" in line]

    assert commands
    for words in commands:
        name, rest = (words[0], words[1:]) if words[0] in COMMANDS else ("", words)
        flags = [("EVAL_MODE", True, "eval")] if name == "eval" else []
        parser().read_config(rest, flags)


def test_warnings_before_the_run_reach_stderr() -> None:
    words = ["config", "check", *CFG, "--local-rank", "0"]

    result = subprocess.run(
        [sys.executable, "main.py", *words], cwd=REPO, capture_output=True, text=True, timeout=60
    )

    assert result.returncode == 0
    assert result.stderr.startswith("WARNING: --local-rank is ignored")
