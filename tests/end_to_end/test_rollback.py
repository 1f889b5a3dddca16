"""A loss that jumps: the run goes back to the checkpoint before it and passes over the images that led to it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from faults import Died
from run_records import exit_report, losses, records
from state_digest import state_digest

import swin_train.engine.epoch
import swin_train.tasks.classification
from swin_train import Config, load_config, train
from swin_train.config import output_dir
from swin_train.errors import NumericsError

# 16 epochs of 5 updates, saved after every second; nothing is a spike before 50.
RECIPE = {
    "TRAIN__EPOCHS": 16,
    "TRAIN__BASE_LR": 0.001,
    "TRAIN__EMA_DECAY": 0.9,
    "TRAIN__ON_SPIKE": "rollback",
    "TRAIN__SPIKE_SIGMA": 9,
    "SAVE_FREQ": 2,
    "SAVE_KEEP": 2,
}
TOTAL, LAST = 80, "step-00000080"


@pytest.fixture
def make(tiny_opts: Callable) -> Callable[..., Config]:
    return lambda **changes: load_config(None, tiny_opts(**RECIPE | changes))


@contextmanager
def jumps(patch: pytest.MonkeyPatch, *steps: int, stop: int = 0) -> Iterator[list[int]]:
    """Let the losses of updates jump, whenever they are made, and the process die before update ``stop``.

    Yields:
        The updates as they are made.
    """
    made: list[int] = []
    real_loss = swin_train.tasks.classification.ClassificationLoss.loss
    real_step = swin_train.engine.epoch.train_step

    def train_step(state: Any, *rest: Any, **named: Any) -> Any:
        if state.step + 1 == stop:
            raise Died
        made.append(state.step + 1)
        return real_step(state, *rest, **named)

    def loss(task: Any, model: Any, batch: Any) -> torch.Tensor:
        return real_loss(task, model, batch) + (100.0 if made[-1] in steps else 0.0)

    with patch.context() as context:
        context.setattr(swin_train.tasks.classification.ClassificationLoss, "loss", loss)
        context.setattr(swin_train.engine.epoch, "train_step", train_step)
        yield made


def spikes_of(checkpoint: Path) -> dict[str, Any]:
    spikes: dict[str, Any] = json.loads((checkpoint / "train.json").read_text())["state"]["spikes"]
    return spikes


def test_a_run_goes_back_and_passes_over_the_ten_updates_up_to_the_jump(
    make: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    with jumps(monkeypatch, 59) as made:
        folder = train(make(SAVE_FREQ=4)).folder

    assert made == [*range(1, 60), *range(41, 50), *range(60, TOTAL + 1)]  # back to 40; without 50 to 59
    assert spikes_of(folder / "checkpoints" / LAST)["left_out"] == [[50, 59]]
    assert spikes_of(folder / "checkpoints" / LAST)["num_rollbacks"] == 1
    log = (folder / "log.txt").read_text()
    assert "WARNING update 59: the loss jumped (from what the 58 before had " in log
    assert "; the checkpoint of step 40 is kept" in log
    assert "went back to update 40; the images of updates 50 to 59 are passed over" in log
    steps = [record["step"] for record in records(folder, "train")]
    assert steps == [*range(1, 50), *range(60, TOTAL + 1)]  # each once
    assert max(losses(folder)) < 10  # that of the jump is taken back


def test_what_is_in_the_state_already_is_not_passed_over(make: Callable, monkeypatch: Any) -> None:
    with jumps(monkeypatch, 53) as made:
        folder = train(make()).folder

    assert made == [*range(1, 54), *range(54, TOTAL + 1)]
    assert spikes_of(folder / "checkpoints" / LAST)["left_out"] == [[51, 53]]
    best = json.loads((folder / "checkpoints" / LAST / "train.json").read_text())["state"]["best_step"]
    kept = {path.name for path in (folder / "checkpoints").iterdir()}
    assert kept - {f"step-{best:08d}"} == {"step-00000050", "step-00000070", LAST}  # 50: from before the jump


def test_where_a_jump_is_only_noted_the_run_goes_on(make: Callable, monkeypatch: Any) -> None:
    with jumps(monkeypatch, 53) as made:
        folder = train(make(TRAIN__ON_SPIKE="keep")).folder

    assert made == [*range(1, TOTAL + 1)]
    assert (folder / "checkpoints/step-00000050").is_dir()
    assert spikes_of(folder / "checkpoints" / LAST)["kept"] == [50]


def test_a_jump_before_the_first_checkpoint_is_said(make: Callable, monkeypatch: Any) -> None:
    with jumps(monkeypatch, 53) as made:
        folder = train(make(SAVE_FREQ=16)).folder

    assert made == [*range(1, TOTAL + 1)]
    log = (folder / "log.txt").read_text()
    assert "update 53: the loss jumped" in log
    assert "; there is no checkpoint before it" in log


def test_a_fourth_jump_stops_the_run(make: Callable, monkeypatch: Any) -> None:
    cfg = make(SAVE_FREQ=1)
    message = (
        r"^update 71: the loss jumped again \(from what the \d+ before had .* to 10\d.*\) after 3 rollbacks\. Lower "
        r"TRAIN\.BASE_LR \(now 0\.001\), lengthen the warm-up, or use AMP_DTYPE bf16 or fp32 \(now fp32\)$"
    )

    with jumps(monkeypatch, 56, 61, 66, 71) as made, pytest.raises(NumericsError, match=message) as error:
        train(cfg)

    assert error.value.exit_status == 4
    assert made[-1] == 71
    kept = {path.name for path in (output_dir(cfg) / "checkpoints").iterdir()}
    assert {"step-00000055", "step-00000060", "step-00000065"} <= kept
    report = exit_report(output_dir(cfg))
    assert (report["status"], report["step"]) == (4, 71)


@pytest.fixture
def undisturbed(make: Callable, monkeypatch: Any, tmp_path: Path) -> Path:
    """A run that went back twice, to 50 and to 60."""
    with jumps(monkeypatch, 53, 67):
        return train(make(OUTPUT=str(tmp_path / "undisturbed"))).folder / "checkpoints" / LAST


def test_a_run_that_is_stopped_after_it_went_back_ends_bit_identical(
    make: Callable, monkeypatch: Any, undisturbed: Path
) -> None:
    """Before 54 nothing has been saved since it went back: the resumed run meets the jump again and goes back again."""
    for stop, first in ((54, 51), (65, 61), (68, 61), (75, 71)):
        with jumps(monkeypatch, 53, 67, stop=stop), pytest.raises(Died):
            train(make(TAG=f"stopped before {stop}"))

        with jumps(monkeypatch, 53, 67) as made:
            resumed = train(make(TAG=f"stopped before {stop}")).folder / "checkpoints" / LAST

        assert made[0] == first
        assert state_digest(resumed) == state_digest(undisturbed)
        assert spikes_of(resumed) == spikes_of(undisturbed)
