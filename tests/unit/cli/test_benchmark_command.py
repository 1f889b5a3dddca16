"""``main.py benchmark loader`` on twenty small pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swin_train.cli.main import main

_SMALL = ["--opts", "DATA.IMG_SIZE", "48", "DATA.BATCH_SIZE", "4"]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    for number in range(20):
        folder = tmp_path / "data/train" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    (tmp_path / "empty.yaml").write_text("DEVICE: cpu\n")
    cfg = ["--cfg", str(tmp_path / "empty.yaml"), "--data-path", str(tmp_path / "data")]
    return ["benchmark", "loader", *cfg, *_SMALL]


def test_it_measures_shows_and_keeps(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--only", "official,portable-device,packed-host", "--rounds", "2", "--images", "8"]
    flags += ["--threads", "1,2", "--memory-epochs", "0", "--json", str(tmp_path / "result.json")]

    assert main([*command, *flags]) == 0

    output = capsys.readouterr()
    assert "images per core-second" in output.out
    assert "not measured: packed-host: no packed images are given" in output.out
    assert "round 2 of 2" in output.err
    kept = json.loads((tmp_path / "result.json").read_text())
    assert list(kept["contenders"]) == ["official", "portable-device"]
    ours, official = kept["contenders"]["portable-device"], kept["contenders"]["official"]
    assert [len(ours["rounds"][threads]) for threads in ("1", "2")] == [2, 2]
    assert [ours["rounds"][threads][0]["images"] for threads in ("1", "2")] == [8, 16]
    by_round = [
        o["cpu_s"] / p["cpu_s"] for o, p in zip(official["rounds"]["1"], ours["rounds"]["1"], strict=True)
    ]
    assert ours["ratios"]["official"]["median"] == pytest.approx(np.median(by_round))
    assert set(kept["stages_ms"]) >= {"official", "portable-host"}
    assert kept["device_ms"]["median"] > 0
    assert {"processor", "cores", "torch", "time"} <= set(kept["machine"])


def test_memory_is_watched_in_a_process_of_its_own(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--only", "exact", "--rounds", "1", "--images", "8", "--threads", "1", "--memory-epochs", "3"]

    assert main([*command, *flags, "--json", str(tmp_path / "result.json")]) == 0

    assert "after each epoch" in capsys.readouterr().out
    memory = json.loads((tmp_path / "result.json").read_text())["contenders"]["exact"]["memory"]
    assert len(memory["after_epoch_mb"]) == 3
    assert memory["peak_mb"] >= max(memory["after_epoch_mb"]) > 1
    assert memory["growth_mb"] == pytest.approx(memory["after_epoch_mb"][2] - memory["after_epoch_mb"][0])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--only", "fastest"], "--only: there is no 'fastest'; there are official, timm-prefetcher"),
        (["--threads", "0"], "--threads must be whole numbers from 1 with commas, such as 1,2,4; got 0"),
        (["--rounds", "0"], "--rounds must be at least 1; got 0"),
        (["--json", "nowhere/result.json"], "--json nowhere/result.json: there is no folder nowhere"),
        (["--only", "packed-host"], "nothing can be measured (packed-host: no packed images are given"),
    ],
)
def test_what_cannot_be_measured_is_said(
    command: list[str], capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main([*command, *flags]) == 2

    assert message in capsys.readouterr().err


def test_it_asks_what_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "--cfg", "x"]) == 2

    assert "there are train-step, inference" in capsys.readouterr().err
