"""What a model computes itself is dropped from its weights, whatever library the file is of, and counted."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from swin_train.weights.layouts.dropped import Dropped


def test_computed_buffers_are_dropped_and_counted(loaded: Callable) -> None:
    block = "layers.0.blocks.1."
    state = {
        f"{block}{name}": torch.zeros(1)
        for name in (
            "attn_mask",
            "attn.relative_position_index",
            "attn.relative_coords_table",
            "attn.k_bias",
            "attn.relative_position_bias_table",
        )
    }

    weights, dropped = loaded(state)

    assert list(weights) == [f"{block}attn.relative_position_bias_table"]
    assert dropped == Dropped(buffers=4)


@pytest.mark.parametrize(
    ("name", "count", "kept"),
    [
        ("swin_tiny_patch4_window7_224", 17, 173),
        ("swinv2_tiny_patch4_window8_256", 29, 221),
        ("swin_mlp_tiny_c24_patch4_window8_256", 0, 137),
    ],
)
def test_published_files_hold_as_many_buffers(loaded: Callable, name: str, count: int, kept: int) -> None:
    shapes = json.loads((Path(__file__).parents[2] / "golden" / f"{name}.keys.json").read_text())

    weights, dropped = loaded({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})

    assert dropped == Dropped(buffers=count)
    assert len(weights) == kept


@pytest.mark.parametrize("bias", [torch.ones(2), torch.zeros(2, device="meta"), torch.zeros(2).to_sparse()])
def test_a_key_bias_that_is_not_known_to_be_0_stays(loaded: Callable, bias: Tensor) -> None:
    assert "layers.0.blocks.0.attn.k_bias" in loaded({"layers.0.blocks.0.attn.k_bias": bias})[0]


@pytest.mark.parametrize(("family", "count"), [("swin", 0), ("swinv2", 3)])
def test_the_key_biases_of_torchvision_s_swin_v2_are_counted(
    loaded: Callable, whole_state: Callable, family: str, count: int, in_layout: Callable
) -> None:
    _, dropped = loaded(in_layout(whole_state(family), "torchvision"))

    assert dropped == Dropped(buffers=6 if family == "swinv2" else 3, key_biases=count)


def test_a_bias_that_the_layout_does_not_have_is_no_key_bias(loaded: Callable, whole_state: Callable) -> None:
    stray = {"layers.0.blocks.0.attn.qkv.bias": torch.zeros(24)}

    assert loaded(whole_state("swinv2") | stray)[1] == Dropped()
