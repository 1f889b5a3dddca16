"""Each family against the reference: names, logits, stages, gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from swin_train.models.hierarchical import HierarchicalModel
from swin_train.models.swin import SwinTransformer
from swin_train.models.swin_mlp import SwinMlp
from swin_train.models.swin_v2 import SwinTransformerV2

BUFFERS = ("relative_position_index", "relative_coords_table", "attn_mask")
MODELS: dict[str, Callable[[], HierarchicalModel]] = {
    "swin_tiny_patch4_window7_224": SwinTransformer,
    "swinv2_tiny_patch4_window8_256": SwinTransformerV2,
    "swin_mlp_tiny_c24_patch4_window8_256": lambda: SwinMlp(num_heads=(4, 8, 16, 32)),
}


@pytest.mark.parametrize("name", MODELS)
def test_names_and_shapes_are_those_of_published_checkpoints(name: str, golden: Callable[[str], Any]) -> None:
    with torch.device("meta"):
        model = MODELS[name]()

    published = {k: v for k, v in golden(f"{name}.keys.json").items() if not k.endswith(BUFFERS)}
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == published
    assert list(model.state_dict()) == list(published)


@pytest.mark.parametrize("name", MODELS)
def test_logits_stages_and_gradients_are_the_reference_s(
    name: str,
    formula_state: Callable,
    golden: Callable[[str], Any],
    golden_images: Callable[[int, int], Tensor],
) -> None:
    figures = golden(f"{name}.npz")
    model = MODELS[name]().eval()
    model.load_state_dict(formula_state(model.state_dict()))
    stages: list[Tensor] = []
    for stage in model.layers:
        stage.register_forward_hook(lambda module, args, out: stages.append(out.detach()))

    logits = model(golden_images(len(figures["logits"]), model.img_size[0]))
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
