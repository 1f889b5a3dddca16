"""The engine on a CUDA device."""

import pytest
import torch
from run_records import losses

import swin_train.engine.epoch
from swin_train import evaluate, load_config, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_trains_and_evaluates(tiny_opts, precision):
    options = {"DEVICE": "cuda", "AMP_DTYPE": precision, "TRAIN__EMA_DECAY": 0.9, "DATA__NUM_WORKERS": 2}
    summary = train(load_config(None, tiny_opts(**options)))

    checkpoint = str(summary.folder / "weights/last.safetensors")
    result = evaluate(load_config(None, tiny_opts(**options, MODEL__RESUME=checkpoint)))

    assert result == summary.evaluation


def test_float32_losses_are_those_of_the_cpu(tiny_opts):
    found = []
    for device in ("cpu", "cuda"):
        folder = train(load_config(None, tiny_opts(DEVICE=device, AMP_DTYPE="fp32", TAG=device))).folder
        found.append(losses(folder))

    assert found[1] == pytest.approx(found[0], rel=1e-3)  # TF32 convolutions, over 10 updates


def test_a_healthy_step_does_not_wait_for_the_device(tiny_opts, monkeypatch):
    real = swin_train.engine.epoch.train_step

    def watched(*args, **kwargs):
        torch.cuda.set_sync_debug_mode("error")
        try:
            return real(*args, **kwargs)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(swin_train.engine.epoch, "train_step", watched)

    train(load_config(None, tiny_opts(DEVICE="cuda", AMP_DTYPE="fp32")))
