"""Fine-tuning Swin-T, window 7 at 224, into window 12 at 384, against the reference."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swin_train.models.swin import SwinTransformer
from swin_train.weights.write import write_weights
from swin_train.zoo.load import load_pretrained


def test_interpolated_tables_and_logits_are_the_reference_s(
    tmp_path: Path,
    formula_state: Callable,
    golden: Callable[[str], Any],
    golden_images: Callable[[int, int], Tensor],
) -> None:
    with torch.device("meta"):
        source = SwinTransformer()
    path = tmp_path / "window7.safetensors"
    write_weights(path, formula_state(source.state_dict()), {})
    model = SwinTransformer(384, window_size=12).eval()

    report = load_pretrained(model, path)

    assert str(report) == (
        "loaded 173 tensors; resized 12 bias tables 13x13 -> 23x23 (bicubic); head of 1000 classes kept"
    )
    figures = golden("finetune_swin_tiny_w7_224_to_w12_384.npz")
    state = model.state_dict()
    for key, expected in figures.items():
        kind, _, name = key.partition("/")
        if kind == "norm":
            np.testing.assert_allclose(state[name].norm().item(), expected, rtol=1e-5)  # float32 sums
        elif kind == "table":
            np.testing.assert_allclose(state[name].numpy(), expected, atol=1e-5)  # float32 sums of 16 terms
    with torch.inference_mode():
        logits = model(golden_images(1, 384))
    np.testing.assert_allclose(logits.numpy(), figures["logits"], rtol=0, atol=1e-4)
