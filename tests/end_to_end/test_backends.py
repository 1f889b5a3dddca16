"""Whole runs by each way of preparing images."""

import math

import pytest

from swin_train.config import load_config
from swin_train.data.native.library import unavailable
from swin_train.engine.evaluate import evaluate
from swin_train.engine.train import train

BACKENDS = [
    "exact",
    "timm",
    "portable",
    pytest.param(
        "native", marks=pytest.mark.skipif(unavailable() is not None, reason="the extension is not built")
    ),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("augment_on", ["auto", "device"])
def test_a_run_trains_evaluates_and_says_what_prepares_its_images(tiny_opts, capsys, backend, augment_on):
    if augment_on == "device" and backend in ("exact", "timm"):
        augment_on = "host"
    opts = {"DATA__PIPELINE": backend, "DATA__AUGMENT_ON": augment_on}

    summary = train(load_config(None, tiny_opts(**opts)))
    again = evaluate(
        load_config(None, tiny_opts(**opts, MODEL__RESUME=str(summary.folder / "weights/last.safetensors")))
    )

    where = "on the device" if augment_on == "device" else "here"
    assert f"images are prepared by {backend} (as asked for), augmented {where}" in capsys.readouterr().err
    assert again == summary.evaluation
    assert math.isfinite(again.loss)


def test_all_back_ends_evaluate_alike(tiny_opts):
    size = {"DATA__IMG_SIZE": 40}  # above 32, so that pictures are resized and their centre is cut out
    weights = str(train(load_config(None, tiny_opts(**size))).folder / "weights/last.safetensors")
    backends = ["exact", "portable"] + ([] if unavailable() else ["native"])

    losses = [
        evaluate(load_config(None, tiny_opts(**size, DATA__PIPELINE=backend, MODEL__RESUME=weights))).loss
        for backend in backends
    ]

    assert losses[1:] == pytest.approx(
        [losses[0]] * (len(losses) - 1), rel=2e-2
    )  # resampled to 1 of 255 levels


def test_a_run_goes_on_with_another_back_end_and_says_so(tiny_opts, tmp_path, capsys):
    opts = {"OUTPUT": str(tmp_path / "output"), "DATA__PIPELINE": "exact", "TRAIN__WARMUP_EPOCHS": 0}
    train(load_config(None, tiny_opts(**opts, TRAIN__EPOCHS=1)))
    capsys.readouterr()

    train(load_config(None, tiny_opts(**{**opts, "DATA__PIPELINE": "portable"}, TRAIN__EPOCHS=2)))

    assert "DATA.PIPELINE was exact, now portable" in " ".join(capsys.readouterr().err.split())
