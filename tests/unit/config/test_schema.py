"""The schema's own properties."""

from typing import Any

import pytest

from swin_train.config import ConfigError, load_config


@pytest.mark.parametrize(
    ("type_", "section"),
    [("swin", "SWIN"), ("swinv2", "SWINV2"), ("swin_mlp", "SWIN_MLP"), ("swin_moe", "SWIN_MOE")],
)
def test_the_type_selects_its_section(type_: str, section: str) -> None:
    model = load_config(None, ["MODEL.TYPE", type_]).MODEL

    assert model.selected is model[section]
    assert model.selected_key == f"MODEL.{section}"


@pytest.mark.parametrize(
    ("overrides", "enabled"),
    [
        ([], True),
        (["AMP_ENABLE", False], False),
        (["AMP_OPT_LEVEL", "O0"], False),
        (["AMP_OPT_LEVEL", "O1"], True),
    ],
)
def test_mixed_precision_follows_both_keys(overrides: list[Any], enabled: bool) -> None:
    assert load_config(None, overrides).amp_enabled is enabled


@pytest.mark.parametrize(
    ("given", "size"), [(192, (192, 192)), ([256, 320], (256, 320)), ([224, 224], (224, 224))]
)
def test_an_image_size_is_a_height_and_a_width(given: Any, size: tuple[int, int]) -> None:
    assert load_config(None, ["DATA.IMG_SIZE", given]).DATA.img_size == size


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("LOCAL_RANK", 1, "must be 0; got 1"),
        ("TRAIN.LAYER_DECAY", 0, "must be > 0; got 0.0"),
        ("TRAIN.EMA_DECAY", 1, "must be < 1; got 1.0"),
        ("TRAIN.CLASS_WEIGHTS", [1, 0], r"must be > 0; got \[1.0, 0.0\]"),
        ("TRAIN.ACCUMULATION_STEPS", 0, "must be >= 1; got 0"),
        ("SAVE_KEEP", 1, "must be >= 2; got 1"),
        ("MODEL.TYPE", "vit", "must be one of swin, swinv2, swin_moe, swin_mlp; got the text 'vit'"),
        ("DATA.IMG_SIZE", [224], r"must be an integer or a list of 2 integers; got \[224\]"),
        ("DATA.IMG_SIZE", [224, 224.0], r"must be an integer or a list of 2 integers; got \[224, 224.0\]"),
        ("DATA.IMG_SIZE", "224, 192", "must be an integer or a list of 2 integers; got the text '224, 192'"),
        ("DATA.IMG_SIZE", 0, "must be >= 1; got 0"),
        ("DATA.IMG_SIZE", [224, -1], r"must be >= 1; got \[224, -1\]"),
        ("MODEL.PADDING", "zeros", "must be one of reference, timm, masked; got the text 'zeros'"),
        ("AUG.MIXUP_PROB", 1.1, "must be <= 1; got 1.1"),
    ],
)
def test_ranges_and_choices_are_enforced(key: str, value: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"--opts: {key} {problem}"):
        load_config(None, [key, value])
