"""Parameter groups, and 24 training steps, against the reference."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from swin_train.models.swin import SwinTransformer
from swin_train.models.swin_mlp import SwinMlp
from swin_train.models.swin_v2 import SwinTransformerV2
from swin_train.optim import Schedule, parameter_groups, set_learning_rates
from swin_train.optim.optimizers import OPTIMIZERS, Settings


@pytest.mark.parametrize(
    ("name", "model_type", "sizes"),
    [
        ("swin_tiny", SwinTransformer, [(53, 28_199_424), (120, 88_930)]),
        ("swinv2_tiny", SwinTransformerV2, [(53, 28_199_424), (168, 147_730)]),
        ("swin_mlp_tiny_c24", SwinMlp, [(41, 20_326_912), (96, 59_720)]),
    ],
)
def test_parameter_groups_are_the_reference_s(
    golden: Callable[[str], Any], name: str, model_type: type, sizes: list[tuple[int, int]]
) -> None:
    with torch.device("meta"):
        model = model_type() if model_type is not SwinMlp else SwinMlp(num_heads=(4, 8, 16, 32))

    groups = parameter_groups(model, weight_decay=0.05)

    expected = golden("param_groups.json").get(name)  # of Swin-MLP the counts alone are known
    assert expected is None or [group["names"] for group in groups] == [
        expected["decay"],
        expected["no_decay"],
    ]
    assert [(len(group["params"]), sum(p.numel() for p in group["params"])) for group in groups] == sizes
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]


def test_training_follows_the_reference(formula_state: Callable, golden: Callable[[str], Any]) -> None:
    figures = golden("trajectory_v1_adamw.npz")
    rng = np.random.RandomState(3)
    images = torch.from_numpy(rng.standard_normal((24, 8, 3, 56, 56)).astype(np.float32))
    labels = torch.from_numpy(rng.randint(0, 10, (24, 8)))
    model = SwinTransformer(
        56, 2, num_classes=10, embed_dim=32, depths=(2, 2), num_heads=(2, 4), drop_path_rate=0.0
    )
    model.load_state_dict(formula_state(model.state_dict()))
    schedule = Schedule("cosine", base_lr=2e-3, warmup_lr=1e-6, min_lr=1e-5, num_steps=24, warmup_steps=6)
    settings = Settings(2e-3, 0.05, momentum=0.9, eps=1e-8, betas=(0.9, 0.999), device=torch.device("cpu"))
    optimizer = OPTIMIZERS["adamw"](parameter_groups(model, weight_decay=0.05), settings)

    losses, norms, rates = [], [], []
    for update in range(24):
        set_learning_rates(optimizer, schedule, update)
        loss = F.cross_entropy(model(images[update]), labels[update], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0).item())
        optimizer.step()
        losses.append(loss.item())
        rates.append(optimizer.param_groups[0]["lr"])

    np.testing.assert_allclose(rates, figures["lr"], rtol=1e-9)  # the same float64 formula
    # float32: rounding differs from the first step, and each update carries it on
    np.testing.assert_allclose(losses, figures["loss"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(norms, figures["grad_norm"], rtol=1e-3)
    final = [p.detach().norm().item() for p in model.parameters()]
    np.testing.assert_allclose(final, figures["final"], rtol=1e-3)
