import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from swin_train.weights.architecture import infer_architecture

GOLDEN = Path(__file__).parents[2] / "golden"
BUFFERS = ("relative_position_index", "relative_coords_table", "attn_mask")


def published(name: str) -> dict[str, torch.Tensor]:
    """The published names and shapes of a model, without memory."""
    shapes = json.loads((GOLDEN / f"{name}.keys.json").read_text())
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "swin_tiny_patch4_window7_224",
            "Swin v1, embed_dim 96, depths [2, 2, 6, 2], num_heads [3, 6, 12, 24], patch_size 4, in_chans 3",
        ),
        (
            "swinv2_tiny_patch4_window8_256",
            "Swin v2, embed_dim 96, depths [2, 2, 6, 2], num_heads [3, 6, 12, 24], patch_size 4, in_chans 3",
        ),
        (
            "swin_mlp_tiny_c24_patch4_window8_256",
            "Swin-MLP, embed_dim 96, depths [2, 2, 6, 2], num_heads [4, 8, 16, 32], patch_size 4, in_chans 3",
        ),
    ],
)
def test_published_names_and_shapes_tell_the_architecture(name: str, words: str) -> None:
    assert str(infer_architecture(published(name))) == words


@pytest.mark.parametrize(
    ("name", "family", "sizes"),
    [
        ("swin_tiny_patch4_window7_224", "swin", {"windows": (7,) * 4}),
        ("swinv2_tiny_patch4_window8_256", "swinv2", {}),
        (
            "swin_mlp_tiny_c24_patch4_window8_256",
            "swin_mlp",
            {"num_heads": (4, 8, 16, 32), "windows": (8,) * 4},
        ),
    ],
)
def test_the_states_that_these_tests_make_have_the_published_names_and_shapes(
    whole_state: Callable, name: str, family: str, sizes: dict
) -> None:
    heads = {"num_heads": (3, 6, 12, 24), "windows": (8,) * 4}
    made = whole_state(
        family, **heads | sizes | {"embed_dim": 96, "depths": (2, 2, 6, 2), "patch_size": 4, "classes": 1000}
    )

    expected = {key: t.shape for key, t in published(name).items() if not key.endswith(BUFFERS)}
    assert {key: t.shape for key, t in made.items()} == expected


def test_a_mixture_of_experts_is_told_by_its_experts_and_by_its_dense_baseline(whole_state: Callable) -> None:
    experts = whole_state() | {"layers.1.blocks.0.mlp._moe_layer.experts.batched_fc1_w": torch.zeros(1, 2, 2)}
    dense = {name: t for name, t in whole_state("swinv2").items() if "logit_scale" not in name}

    assert infer_architecture(experts).title == "Swin-MoE"
    assert infer_architecture(dense).title == "Swin-MoE"
    assert infer_architecture(dense).num_heads == (2, 4)


def test_what_does_not_tell_is_left_open() -> None:
    found = infer_architecture({"layers.0.blocks.1.norm1.bias": torch.zeros(2), "fc.weight": torch.zeros(1)})

    assert str(found) == (
        "Swin of an unknown family, embed_dim None, depths [2], num_heads [], patch_size None, in_chans None"
    )
