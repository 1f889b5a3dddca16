"""What docs/reliability.md promises, on a CUDA device."""

import json
from typing import Any

import pytest
import torch
from faults import dies_before
from state_digest import newest_state, state_digest

import swin_train.engine.epoch
from swin_train import load_config, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

ON_CUDA = {"DEVICE": "cuda", "DETERMINISTIC": True, "TRAIN__EMA_DECAY": 0.9, "SAVE_STEPS": 2, "SAVE_KEEP": 20}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_stopped_run_ends_bit_identical(tiny_opts, precision):
    recipe = ON_CUDA | {"AMP_DTYPE": precision}
    undisturbed = train(load_config(None, tiny_opts(**recipe, TAG="undisturbed"))).folder
    with dies_before(8):
        train(load_config(None, tiny_opts(**recipe)))
    resumed = train(load_config(None, tiny_opts(**recipe))).folder

    assert state_digest(newest_state(resumed)) == state_digest(newest_state(undisturbed))


def test_a_state_that_is_written_beside_the_training_is_that_of_its_update(tiny_opts):
    folders = [
        train(
            load_config(None, tiny_opts(**ON_CUDA | {"SAVE_STEPS": 1}, TAG=tag, SAVE_ASYNC=is_async))
        ).folder
        for tag, is_async in (("waiting", False), ("going-on", True))
    ]

    for step in range(1, 11):
        one, other = (state_digest(folder / f"checkpoints/step-{step:08d}") for folder in folders)
        assert one == other, step


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_an_update_with_a_nan_is_left_out_on_the_device(tiny_opts, monkeypatch, optimizer):
    real = swin_train.engine.epoch.train_step
    before: dict[str, torch.Tensor] = {}

    def watched(state: Any, *rest: Any, **named: Any) -> Any:
        parameter = next(p for p in state.model.parameters() if p.requires_grad)
        if state.step == 4:
            before.update(
                {name: value.clone() for name, value in state.tensors().items() if "ema" not in name}
            )
            hook = parameter.register_hook(lambda gradient: gradient * float("nan"))
        result = real(state, *rest, **named)
        if state.step == 4:
            hook.remove()
            after = state.tensors()
            assert all(torch.equal(value, after[name]) for name, value in before.items())
        return result

    monkeypatch.setattr(swin_train.engine.epoch, "train_step", watched)
    recipe = {
        "DEVICE": "cuda",
        "AMP_DTYPE": "fp32",
        "TRAIN__OPTIMIZER__NAME": optimizer,
        "TRAIN__BASE_LR": 0.01,
    }

    folder = train(load_config(None, tiny_opts(**recipe))).folder

    assert before
    assert json.loads((folder / "bad_steps/step-00000005.json").read_text())["step"] == 5
