"""``main.py fit`` tells which micro-batch fits, to people and to programs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from swin_train.cli.main import main
from swin_train.engine import fit as fit_module
from swin_train.engine.fit import Fit, Trial

CFG = ["--cfg", "swin_tiny_patch4_window7_224"]
GIB = 2**30
RESULT = Fit(
    device="cuda:0",
    precision="bf16",
    processes=8,
    global_batch=1024,
    limit_bytes=int(79.1 * GIB),
    trials=(
        Trial(64, 2, int(20.5 * GIB), 1500.25),
        Trial(128, 1, int(79.0 * GIB), None),
        Trial(96, 2, int(40.25 * GIB), 1400.0),
    ),
    notes=("what is not counted",),
)
TEXT = """\
1024 images an update on 8 process(es), each with up to 79.10 GiB of cuda:0, in bf16; images/s of one process

micro-batch  accumulation  peak memory      images/s
         64             2    20.50 GiB        1500.2
         96             2    40.25 GiB        1400.0
        128             1  > 79.00 GiB  does not fit

largest that fits: --opts DATA.BATCH_SIZE 96 TRAIN.ACCUMULATION_STEPS 2 TRAIN.GLOBAL_BATCH 1024
fastest that fits: --opts DATA.BATCH_SIZE 64 TRAIN.ACCUMULATION_STEPS 2 TRAIN.GLOBAL_BATCH 1024
note: what is not counted
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What the engine was asked; it is replaced."""
    calls: list[tuple[object, ...]] = []

    def fit(cfg: object, *, processes: int, memory_gb: float | None, say: Callable) -> Fit:
        calls.append((cfg.DATA.BATCH_SIZE, cfg.TRAIN.GLOBAL_BATCH, processes, memory_gb))
        say("64 images")
        return RESULT

    monkeypatch.setattr(fit_module, "fit", fit)
    return calls


def test_people_read_this(asked: list, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--processes",
        "8",
        "--memory-gb",
        "79.1",
        "--batch-size",
        "64",
        "--opts",
        "TRAIN.GLOBAL_BATCH",
        "1024",
    ]

    assert main(["fit", *CFG, *words]) == 0

    out, err = capsys.readouterr()
    assert out == TEXT
    assert err == "fit: 64 images\n"
    assert asked == [(64, 1024, 8, 79.1)]


def test_programs_read_the_same(asked: list, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *CFG, "--json", str(tmp_path / "fit.json")]) == 0

    told = json.loads((tmp_path / "fit.json").read_text())
    assert list(told) == [
        *("device", "precision", "processes", "global_batch", "limit_bytes", "trials", "notes"),
        *("largest", "fastest"),
    ]
    assert told["trials"][1] == {
        "micro_batch": 128,
        "accumulation": 1,
        "peak_bytes": 79 * GIB,
        "images_per_s": None,
    }
    assert told["largest"]["settings"] == {
        "DATA.BATCH_SIZE": 96,
        "TRAIN.ACCUMULATION_STEPS": 2,
        "TRAIN.GLOBAL_BATCH": 1024,
    }
    assert asked == [(128, 0, 1, None)]
    assert capsys.readouterr().out == TEXT


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--processes", "0"], "argument --processes: must be a whole number from 1; got '0'"),
        (["--processes", "two"], "argument --processes: must be a whole number from 1; got 'two'"),
        (["--memory-gb", "-1"], "argument --memory-gb: must be a number above 0; got '-1'"),
        (["--memory-gb", "much"], "argument --memory-gb: must be a number above 0; got 'much'"),
        (["--memory-gb", "inf"], "argument --memory-gb: must be a number above 0; got 'inf'"),
        (["--json", "no/such/fit.json"], "--json no/such/fit.json: there is no folder no/such"),
        (["--eval"], "unknown flag --eval"),
    ],
)
def test_a_mistake_is_one_message_and_status_2(
    words: list[str], message: str, asked: list, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *CFG, *words]) == 2
    assert capsys.readouterr().err == f"error: main.py fit: {message}; see main.py fit --help\n"
    assert asked == []


def test_it_is_about_training(asked: list, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *CFG, "--opts", "THROUGHPUT_MODE", "true"]) == 2
    assert "it is about training, so leave both out" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_said(
    asked: list, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *CFG, "--json", str(tmp_path)]) == 28
    assert (
        f"error: {tmp_path}: cannot be written (Is a directory); give another --json FILE"
        in capsys.readouterr().err
    )


def test_nothing_fits_ends_with_status_2(tiny_opts: Callable, run_main: Callable) -> None:
    result = run_main("fit", "--cfg", CFG[1], "--memory-gb", "0.01", "--opts", *tiny_opts())

    assert result.returncode == 2
    assert result.stdout == ""
    assert "error: main.py fit: nothing fits: 2 image(s) at a time" in result.stderr


def test_the_command_measures(tiny_opts: Callable, run_main: Callable, tmp_path: Path) -> None:
    result = run_main("fit", "--cfg", CFG[1], "--opts", *tiny_opts(AUG__MIX_GROUP=8))

    assert result.returncode == 0, result.stderr
    assert "--opts DATA.BATCH_SIZE 8 TRAIN.ACCUMULATION_STEPS 1 TRAIN.GLOBAL_BATCH 8\n" in result.stdout
    assert not (tmp_path / "output").exists()


def test_its_help_explains(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--help"]) == 0

    text = capsys.readouterr().out
    assert "--memory-gb X" in text
    assert "80% of what is available" in text
