"""Clocks that go back and files of other dates: nothing that a run chooses follows from them."""

import os
import shutil
import time
from pathlib import Path

import pytest
from state_digest import newest_state, state_digest

from swin_train import load_config, train


def dated(root: Path, when: float) -> None:
    """Give a folder and all in it a date."""
    for path in (*root.rglob("*"), root):
        os.utime(path, (when, when))


def final_state(folder: Path) -> tuple[str, str]:
    """Name and digest of the last training state."""
    last = newest_state(folder)
    return last.name, state_digest(last)


@pytest.mark.parametrize("clock", [None, 1e9], ids=["on time", "in 2001"])
def test_a_run_goes_on_from_its_last_step_whatever_the_dates_say(
    tiny_opts, digits, tmp_path, monkeypatch, clock
):
    data = Path(shutil.copytree(digits, tmp_path / "data"))
    opts = {"DATA__DATA_PATH": str(data), "SAVE_STEPS": 2, "SAVE_KEEP": 3}
    for output in ("as it is", "other dates"):
        train(load_config(None, tiny_opts(**opts, OUTPUT=str(tmp_path / output))))
    folders = [tmp_path / output / "tiny/default" for output in ("as it is", "other dates")]
    straight = train(load_config(None, tiny_opts(**opts, TRAIN__EPOCHS=3, OUTPUT=str(tmp_path / "as it is"))))

    states = sorted((folders[1] / "checkpoints").glob("step-*"))
    assert len(states) > 1
    for age, state in enumerate(states):  # the last is the oldest by its date
        dated(state, 4e9 - 1e9 * age)
    dated(data, 4e9)
    if clock is not None:
        monkeypatch.setattr(time, "time", lambda: clock)
    resumed = train(
        load_config(None, tiny_opts(**opts, TRAIN__EPOCHS=3, OUTPUT=str(tmp_path / "other dates")))
    )

    assert f"resumed from {states[-1]}" in (resumed.folder / "log.txt").read_text()
    assert final_state(resumed.folder) == final_state(straight.folder)
