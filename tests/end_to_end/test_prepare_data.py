"""Processes of ``main.py prepare-data`` that are killed; the same command finishes what they began."""

import hashlib
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

_LAYOUTS = ("folder", "zip", "shards")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty classes of four pictures."""
    rng = np.random.default_rng(0)
    for name in "abcdefghijklmnopqrst":
        folder = tmp_path / f"data/train/{name}"
        folder.mkdir(parents=True)
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (180, 200, 3), dtype=np.uint8)).save(folder / f"{i}.jpg")
    return tmp_path / "data"


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


@pytest.mark.parametrize("kills", [4, pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_killed_processes_lose_nothing(
    kills: int, data: Path, tmp_path: Path, main_command: Callable, main_environment: Callable
) -> None:
    rng = random.Random(1)

    def launch(out: Path, to: str) -> subprocess.Popen[bytes]:
        command = main_command("prepare-data", data, out, "--to", to, "--shard-mb", "0.05", "--workers", "2")
        process = subprocess.Popen(
            list(map(str, command)),
            env=main_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and not (out / ".prepare").exists():
            time.sleep(0.001)
        return process

    whole, seconds = {}, {}
    for to in _LAYOUTS:
        process, begun = launch(tmp_path / to, to), time.monotonic()
        while not (tmp_path / to / "manifest.json").exists():
            time.sleep(0.001)
        seconds[to] = time.monotonic() - begun
        assert process.wait() == 0
        whole[to] = content(tmp_path / to)
    killed = unfinished = 0
    while killed < kills:
        to = _LAYOUTS[killed % len(_LAYOUTS)]
        out = tmp_path / f"out-{killed}"
        process = launch(out, to)
        time.sleep(rng.uniform(0, seconds[to]))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        unfinished += (out / ".prepare/train.journal").exists()

        assert launch(out, to).wait() == 0

        assert content(out) == whole[to]
    assert unfinished > kills / 4  # most kills hit work that was under way
