"""Gradients that are not finite: left out one by one, described, and too many stop the run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from state_digest import newest_state

import swin_train.engine.epoch
import swin_train.tasks.classification
from swin_train import load_config, train
from swin_train.config import output_dir
from swin_train.errors import NumericsError


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the loss of some updates infinite."""

    def at(*steps: int) -> None:
        now: list[int] = []
        real_loss = swin_train.tasks.classification.ClassificationLoss.loss
        real_step = swin_train.engine.epoch.train_step

        def train_step(state: Any, *rest: Any, **named: Any) -> Any:
            now.append(state.step + 1)
            return real_step(state, *rest, **named)

        def loss(task: Any, model: Any, batch: Any) -> torch.Tensor:
            return real_loss(task, model, batch) * (float("inf") if now[-1] in steps else 1.0)

        monkeypatch.setattr(swin_train.tasks.classification.ClassificationLoss, "loss", loss)
        monkeypatch.setattr(swin_train.engine.epoch, "train_step", train_step)

    return at


def dump_of(folder: Path, step: int) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / f"bad_steps/step-{step:08d}.json").read_text())
    return content


def test_an_update_that_is_left_out_is_described(tiny_opts: Callable, spoil: Callable) -> None:
    spoil(7)

    folder = train(load_config(None, tiny_opts())).folder

    dump = dump_of(folder, 7)
    assert (dump["step"], dump["epoch"], dump["precision"], dump["loss_scale"]) == (7, 2, "fp32", 1.0)
    assert len(dump["images"]) == 8
    assert all(name.endswith(".png") for name in dump["images"])
    assert set(dump["not_finite"]) <= set(dump["gradient_norms"])
    assert "head.weight" in dump["not_finite"]
    assert (
        f"update 7 was left out: a gradient was not finite; {folder}/bad_steps/step-00000007.json describes"
        in ((folder / "log.txt").read_text())
    )
    guard = json.loads((newest_state(folder) / "train.json").read_text())["state"]["guard"]
    assert guard == {"recent": [[7, 1]]}


def test_more_than_are_allowed_stop_the_run(tiny_opts: Callable, spoil: Callable) -> None:
    spoil(2, 3, 4)
    cfg = load_config(None, tiny_opts(TRAIN__MAX_BAD_STEPS=2))

    with pytest.raises(NumericsError) as error:
        train(cfg)

    assert error.value.exit_status == 4
    assert str(error.value) == (
        f"step 4: 3 of the last 1,000 updates had gradients that are not finite, and TRAIN.MAX_BAD_STEPS allows 2; "
        f"{output_dir(cfg)}/bad_steps/step-00000004.json describes the last. Lower TRAIN.BASE_LR (now 0.05), lengthen "
        f"the warm-up, or use AMP_DTYPE bf16 or fp32 (now fp32)"
    )


def test_as_many_as_are_allowed_do_not(tiny_opts: Callable, spoil: Callable) -> None:
    spoil(2, 3, 4)

    folder = train(load_config(None, tiny_opts(TRAIN__MAX_BAD_STEPS=3))).folder

    assert newest_state(folder).name == "step-00000010"


def test_the_scale_of_fp16_falls_until_nothing_is_left_to_gain(tiny_opts: Callable, spoil: Callable) -> None:
    """From 65536 it takes 17 halvings to be below 1; MAX_BAD_STEPS does not count, overflows being its way."""
    spoil(*range(1, 99))
    keys = {"TRAIN__EPOCHS": 8, "AMP_DTYPE": "fp16", "TRAIN__MAX_BAD_STEPS": 0}
    cfg = load_config(None, tiny_opts(**keys))

    with pytest.raises(NumericsError) as error:
        train(cfg)

    dump = f"{output_dir(cfg)}/bad_steps/step-00000017.json"
    assert str(error.value) == (
        f"step 17: the loss scale fell to 0.5; {dump} describes the last. Lower TRAIN.BASE_LR (now 0.05), lengthen the "
        f"warm-up, or use AMP_DTYPE bf16 or fp32 (now fp16)"
    )
    assert dump_of(output_dir(cfg), 17)["loss_scale"] == 1.0
    assert "fp16: loss scale 1 after 1 overflow(s)" in (output_dir(cfg) / "log.txt").read_text()
