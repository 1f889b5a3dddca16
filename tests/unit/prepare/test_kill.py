"""A preparation that is killed anywhere goes on, and ends with the same bytes as one that was not."""

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from swin_train.data.formats.image_folder import ImageFolder
from swin_train.errors import UserError
from swin_train.prepare.job import Settings, prepare
from swin_train.prepare.workplace import Workplace

SHARD = 6000  # bytes: several units
LAYOUTS = ["folder", "zip", "shards", "packed"]
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"}
DIED = 9


def die_at(moment: int) -> Callable[[], None]:
    """End the process without a word before the n-th file or folder is opened, made, renamed or removed."""

    def install() -> None:
        left = moment

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in EVENTS:
                left -= 1
                if left == 0:
                    os._exit(DIED)

        sys.addaudithook(watch)

    return install


@pytest.mark.usefixtures("fake_tiles")
@pytest.mark.parametrize("to", LAYOUTS)
def test_a_kill_at_any_step_loses_nothing(
    to: str, source: ImageFolder, tmp_path: Path, launch: Callable, content: Callable
) -> None:
    settings, out = Settings(to, "train", SHARD), tmp_path / "out"
    prepare(source, tmp_path / "whole", settings, 1)
    expected = content(tmp_path / "whole")
    moment, finished = 1, False
    while not finished:
        shutil.rmtree(out, ignore_errors=True)
        process = launch(source, out, settings, 1, die_at(moment))
        process.join()
        finished = process.exitcode == 0
        assert finished or process.exitcode == DIED
        there = content(out) if out.exists() else {}
        assert all(
            there[name] == expected[name] for name in there.keys() & expected.keys()
        )  # whole or not there

        prepare(source, out, settings, 1)

        assert content(out) == expected, f"after a kill at step {moment}"
        moment += 3
    assert moment > 60


@pytest.mark.usefixtures("fake_tiles")
@pytest.mark.parametrize("kills", [10, pytest.param(50, marks=pytest.mark.long)])
def test_kills_at_random_moments_lose_nothing(
    kills: int, folder: Path, tmp_path: Path, launch: Callable, content: Callable
) -> None:
    source, rng = ImageFolder(str(folder), "train"), random.Random(0)
    begun = time.monotonic()
    for to in LAYOUTS:
        prepare(source, tmp_path / f"whole_{to}", Settings(to, "train", SHARD), 2)
    seconds = (time.monotonic() - begun) / len(LAYOUTS)
    killed = 0
    while killed < kills:
        to = LAYOUTS[killed % len(LAYOUTS)]
        settings, out = Settings(to, "train", SHARD), tmp_path / f"out_{killed}"
        process = launch(source, out, settings)
        while process.is_alive():  # kill it again and again, until it has come to the end
            time.sleep(rng.uniform(0, seconds))
            process.kill()
            process.join()
            killed += process.exitcode == -signal.SIGKILL
            if process.exitcode != 0 and killed < kills:
                process = launch(source, out, settings)
        prepare(source, out, settings, 2)

        assert content(out) == content(tmp_path / f"whole_{to}")


def test_a_second_process_is_refused_while_the_first_is_at_work(
    source: ImageFolder, tmp_path: Path, launch: Callable
) -> None:
    settings, out = Settings("zip", "train", SHARD), tmp_path / "out"
    process = launch(source, out, settings, 1, lambda: _hang(out))
    while not (out / "begun").exists():
        time.sleep(0.01)

    with pytest.raises(UserError) as error:
        prepare(source, out, settings, 1)
    process.kill()
    process.join()

    assert str(error.value).startswith(
        f"{out}: another process is preparing data there (process {process.pid} on "
    )
    assert str(error.value).endswith("); wait for it, or give another OUT")
    assert prepare(source, out, settings, 1)["images"] == 21


def _hang(out: Path) -> None:
    def begin(*_: object) -> None:
        (out / "begun").touch()
        time.sleep(60)

    Workplace.begin = begin  # type: ignore[method-assign]
