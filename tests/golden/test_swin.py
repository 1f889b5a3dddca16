"""Swin-T against the reference: names, logits, stages, gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from swin_train.models.swin import SwinTransformer

NAME = "swin_tiny_patch4_window7_224"
BUFFERS = ("relative_position_index", "attn_mask")


@pytest.fixture
def model(formula_state: Callable) -> SwinTransformer:
    model = SwinTransformer().eval()
    model.load_state_dict(formula_state(model.state_dict()))
    return model


def test_names_and_shapes_are_those_of_published_checkpoints(golden: Callable[[str], Any]) -> None:
    with torch.device("meta"):
        model = SwinTransformer()

    published = {k: v for k, v in golden(f"{NAME}.keys.json").items() if not k.endswith(BUFFERS)}
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == published
    assert list(model.state_dict()) == list(published)


def test_logits_stages_and_gradients_are_the_reference_s(
    model: SwinTransformer, golden: Callable[[str], Any], golden_images: Callable[[int, int], Tensor]
) -> None:
    figures = golden(f"{NAME}.npz")
    stages: list[Tensor] = []
    for stage in model.layers:
        stage.register_forward_hook(lambda module, args, out: stages.append(out.detach()))

    logits = model(golden_images(2, 224))
    weights = np.random.RandomState(1).standard_normal(logits.shape).astype(np.float32)
    (logits * torch.from_numpy(weights)).sum().backward()

    # float32: sums in another order through 12 blocks; measured 1e-5
    np.testing.assert_allclose(logits.detach().numpy(), figures["logits"], rtol=0, atol=1e-4)
    for i, out in enumerate(stages):
        np.testing.assert_allclose(out.mean(dim=(1, 2)).numpy(), figures[f"stage{i}_token_mean"], atol=1e-4)
        np.testing.assert_allclose(out.abs().mean().item(), figures[f"stage{i}_abs_mean"], rtol=1e-4)
    expected = dict(zip(figures["grad_keys"], figures["grad_norms"], strict=True))
    found = {name: -1.0 if p.grad is None else p.grad.norm().item() for name, p in model.named_parameters()}
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(list(found.values()), [expected[k] for k in found], rtol=1e-3)
