import pytest
import torch

from swin_train.weights.names import plain_names


def names(*keys: str) -> list[str]:
    return list(plain_names({key: torch.zeros(1) for key in keys}).state)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.encoder."]
)
def test_prefixes_of_wrappers_go(prefix: str) -> None:
    assert names(f"{prefix}norm.weight", f"{prefix}head.bias") == ["norm.weight", "head.bias"]


def test_blocks_compiled_one_by_one_get_their_names_back() -> None:
    assert names("layers.0.blocks.1._orig_mod.norm1.weight") == ["layers.0.blocks.1.norm1.weight"]


def test_only_the_encoder_of_a_pre_training_is_kept() -> None:
    state = {k: torch.zeros(1) for k in ("encoder.norm.weight", "encoder.mask_token", "decoder.0.weight")}

    plain = plain_names(state)

    assert list(plain.state) == ["norm.weight"]
    assert plain.num_pretraining == 2


def test_computed_buffers_are_dropped_and_counted() -> None:
    block = "layers.0.blocks.1."
    state = {
        f"{block}{name}": torch.zeros(1)
        for name in (
            "attn_mask",
            "attn.relative_position_index",
            "attn.relative_coords_table",
            "attn.relative_position_bias_table",
        )
    }

    plain = plain_names(state)

    assert list(plain.state) == [f"{block}attn.relative_position_bias_table"]
    assert plain.num_buffers == 3
    assert plain.num_pretraining == 0
