"""What a peer cannot express is refused, and nothing else."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from math import sqrt

import pytest

from swin_train.weights.geometry import Geometry
from swin_train.weights.layouts import LAYOUTS, infer_spec

PEERS = ("timm", "torchvision", "huggingface")


def convert(
    whole_state: Callable, to: str, family: str = "swin", *, sizes: dict | None = None, **facts
) -> None:
    windows = facts.get("windows") or (4, 4)
    state = whole_state(family, **{"windows": windows, **(sizes or {})})
    known = infer_spec(state, Geometry(windows, (0, 0) if family == "swinv2" else None))
    LAYOUTS[to].from_official(state, replace(known, **facts))


@pytest.mark.parametrize("to", PEERS)
def test_no_peer_has_a_swin_mlp(whole_state: Callable, to: str) -> None:
    with pytest.raises(ValueError, match=f"{to} has no Swin-MLP; keep the official layout"):
        convert(whole_state, to, "swin_mlp")


@pytest.mark.parametrize("to", PEERS)
@pytest.mark.parametrize("family", ["swin", "swinv2"])
def test_no_peer_leaves_the_patch_embedding_unnormalised(whole_state: Callable, to: str, family: str) -> None:
    message = rf"not normalised \(PATCH_NORM is off\), {to}'s always is; keep the official layout"
    with pytest.raises(ValueError, match=message):
        convert(whole_state, to, family, sizes={"patch_norm": False})


@pytest.mark.parametrize("to", ["timm", "torchvision"])
@pytest.mark.parametrize("family", ["swin", "swinv2"])
def test_images_that_a_peer_cuts_are_refused(whole_state: Callable, to: str, family: str) -> None:
    message = (
        rf"images of 32 x 33 are no multiple of the patches' 2, and {to} cuts off the rest, so its logits"
    )
    with pytest.raises(ValueError, match=message):
        convert(whole_state, to, family, img_size=(32, 33))


@pytest.mark.parametrize("to", PEERS)
def test_the_usual_scale_is_known_but_for_rounding(whole_state: Callable, to: str) -> None:
    convert(whole_state, to, qk_scales=(1 / sqrt(4), 1 / sqrt(4) + 1e-12))


@pytest.mark.parametrize("to", PEERS)
def test_no_peer_scales_attention_otherwise(whole_state: Callable, to: str) -> None:
    message = rf"scaled by \[0.25, 0.25\] \(QK_SCALE\), {to}'s by the head dimension to the power of -1/2, \["
    with pytest.raises(ValueError, match=message):
        convert(whole_state, to, qk_scales=(0.25, 0.25))


@pytest.mark.parametrize(
    ("to", "family"),
    [
        ("timm", "swin"),
        ("timm", "swinv2"),
        ("torchvision", "swin"),
        ("torchvision", "swinv2"),
        ("huggingface", "swinv2"),
    ],
)
def test_absolute_positions_are_refused_where_there_are_none(
    whole_state: Callable, to: str, family: str
) -> None:
    message = rf"absolute position embedding \(APE is on\), {to} has none; keep the official layout"
    with pytest.raises(ValueError, match=message):
        convert(whole_state, to, family, sizes={"num_patches": 64})


def test_swin_v1_of_hugging_face_has_absolute_positions(whole_state: Callable) -> None:
    convert(whole_state, "huggingface", sizes={"num_patches": 64})


@pytest.mark.parametrize("family", ["swin", "swinv2"])
def test_torchvision_has_no_projection_without_bias_and_the_others_have(
    whole_state: Callable, family: str
) -> None:
    with pytest.raises(
        ValueError, match="q, k, v have no bias, torchvision's always do; choose timm, or keep"
    ):
        convert(whole_state, "torchvision", family, sizes={"qkv_bias": False})
    convert(whole_state, "timm", family, sizes={"qkv_bias": False})
    convert(whole_state, "huggingface", family, sizes={"qkv_bias": False})


def test_torchvision_takes_images_of_three_channels_alone(whole_state: Callable) -> None:
    with pytest.raises(ValueError, match=r"images have 1 channel\(s\), torchvision's always 3; choose timm"):
        convert(whole_state, "torchvision", sizes={"in_chans": 1})
    convert(whole_state, "timm", sizes={"in_chans": 1})
    convert(whole_state, "huggingface", sizes={"in_chans": 1})


@pytest.mark.parametrize(
    ("to", "family"), [("torchvision", "swin"), ("torchvision", "swinv2"), ("huggingface", "swin")]
)
def test_windows_that_a_small_map_bounds_are_refused_where_nothing_bounds_them(
    whole_state: Callable, to: str, family: str
) -> None:
    message = rf"the stages' windows are \[8, 4\], {to} has one for all .* wrong; choose timm, or keep"
    with pytest.raises(ValueError, match=message):
        convert(whole_state, to, family, windows=(8, 4))


@pytest.mark.parametrize(("to", "family"), [("timm", "swin"), ("timm", "swinv2"), ("huggingface", "swinv2")])
def test_windows_that_a_small_map_bounds_are_written_where_it_does(
    whole_state: Callable, to: str, family: str
) -> None:
    convert(whole_state, to, family, windows=(8, 4), img_size=(16, 16))


def test_a_window_larger_than_a_map_is_not_written_for_torchvision(whole_state: Callable) -> None:
    message = r"window of 8 is larger than a stage's map \(4 x 4 in the last\), torchvision does not bound it"
    with pytest.raises(ValueError, match=message):
        convert(whole_state, "torchvision", "swinv2", windows=(8, 8), img_size=(16, 16))


def test_torchvision_scales_by_no_window_of_pre_training(whole_state: Callable) -> None:
    message = (
        r"learned in windows of \[6, 6\] \(PRETRAINED_WINDOW_SIZES\), torchvision knows of none, so its logits "
        "would be wrong; choose timm or huggingface, or keep the official layout"
    )
    with pytest.raises(ValueError, match=message):
        convert(whole_state, "torchvision", "swinv2", pretrained_windows=(6, 6))
    convert(whole_state, "timm", "swinv2", pretrained_windows=(6, 6))
    convert(whole_state, "huggingface", "swinv2", pretrained_windows=(6, 6))


def test_a_window_of_pre_training_that_is_the_own_one_is_no_other(whole_state: Callable) -> None:
    convert(whole_state, "torchvision", "swinv2", pretrained_windows=(4, 0))


def test_what_torchvision_s_tables_need_and_the_file_does_not_tell_is_asked_for(
    whole_state: Callable,
) -> None:
    state = whole_state("swinv2")
    spec = infer_spec(state, Geometry())

    with pytest.raises(ValueError, match=r"tables for the window, which .* does not tell; .* by --cfg"):
        LAYOUTS["torchvision"].from_official(state, spec)
    with pytest.raises(ValueError, match=r"scales the position bias by the window itself, .* by --cfg"):
        LAYOUTS["torchvision"].from_official(state, replace(spec, windows=(4, 4)))
    LAYOUTS["timm"].from_official(state, spec)
    LAYOUTS["huggingface"].from_official(state, spec)


OBLONG = r"map of stage 1 is 4 x 8, of which one side fits into a window of 4; {} bounds and shifts .* by each side"


@pytest.mark.parametrize("to", ["timm", "torchvision"])
@pytest.mark.parametrize("family", ["swin", "swinv2"])
def test_an_oblong_map_that_the_peer_would_shift_is_refused(
    whole_state: Callable, to: str, family: str
) -> None:
    deep = {"depths": (2, 2)}
    with pytest.raises(ValueError, match=OBLONG.format(to)):
        convert(whole_state, to, family, sizes=deep, depths=(2, 2), img_size=(16, 32))


@pytest.mark.parametrize("to", ["timm", "torchvision"])
def test_an_oblong_map_that_nothing_shifts_or_bounds_is_written(whole_state: Callable, to: str) -> None:
    convert(whole_state, to, img_size=(16, 32))  # one block, whose windows are not shifted
    convert(whole_state, to, sizes={"depths": (2, 2)}, depths=(2, 2), img_size=(24, 32))  # maps of 6 x 8


def test_timm_would_bound_the_window_of_an_oblong_map_by_each_side(whole_state: Callable) -> None:
    message = "map of stage 1 is 5 x 4, of which one side fits into a window of 4; timm"
    with pytest.raises(ValueError, match=message):
        convert(
            whole_state, "timm", sizes={"depths": (1, 1)}, depths=(1, 1), windows=(8, 4), img_size=(18, 16)
        )


@pytest.mark.parametrize(
    ("facts", "is_refused"),
    [({"window_size": 16}, True), ({"window_size": 8}, False), ({}, False)],
)
def test_timm_would_bound_the_windows_of_each_oblong_map_where_all_are_bounded(
    whole_state: Callable, facts: dict, is_refused: bool
) -> None:
    """A single stage, all of whose windows fit into one side of its map."""
    sizes = {"depths": (1,), "num_heads": (2,), "windows": (8,)}
    state = whole_state("swinv2", **sizes)
    spec = infer_spec(state, Geometry((8,), (0,), (16, 32), **facts))

    message = "map of stage 0 is 8 x 16, of which one side fits into a window of 8; timm"
    with pytest.raises(ValueError, match=message) if is_refused else nullcontext():
        LAYOUTS["timm"].from_official(state, spec)


@pytest.mark.parametrize(("to", "name"), [("official", "the authors' code"), ("huggingface", "huggingface")])
@pytest.mark.parametrize(
    ("windows", "img_size"),
    [((4, 8), None), ((4, 8), (32, 32)), ((8, 4), (32, 32))],  # maps of 16 and 8
)
def test_windows_chosen_for_each_stage_are_refused_where_there_is_one_size(
    whole_state: Callable, to: str, name: str, windows: tuple, img_size: tuple | None
) -> None:
    message = (
        rf"^the stages' windows are \[{windows[0]}, {windows[1]}\], {name} has one size for all, which small"
    )
    with pytest.raises(ValueError, match=message):
        convert(whole_state, to, "swinv2", windows=windows, img_size=img_size)
    convert(whole_state, "timm", "swinv2", windows=windows, img_size=img_size)


@pytest.mark.parametrize("family", ["swin", "swinv2", "swin_mlp"])
@pytest.mark.parametrize(
    ("windows", "img_size"), [((8, 4), None), ((8, 4), (16, 16)), ((8, 4), (24, 16)), ((8, 8), (16, 16))]
)
def test_windows_that_maps_bound_stay_official(
    whole_state: Callable, family: str, windows: tuple, img_size: tuple | None
) -> None:
    convert(whole_state, "official", family, windows=windows, img_size=img_size)


def test_hugging_face_has_no_positions_of_cut_patches(whole_state: Callable) -> None:
    ape = {"num_patches": 72}

    message = "images of 15 x 18 are no multiple of the patches' 2, and huggingface has absolute positions"
    with pytest.raises(ValueError, match=message):
        convert(whole_state, "huggingface", sizes=ape, img_size=(15, 18))
    convert(whole_state, "huggingface", sizes=ape, img_size=(16, 18))
    convert(whole_state, "huggingface", img_size=(15, 18))


ROWS = "map of stage {} with windows of {}; huggingface counts {} rows and looks at them alone, so its logits would be"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"img_size": (28, 16), "windows": (8, 4), "depths": (1, 1)}, ("1 is 7 x 4", 4, 7)),  # bounded
        ({"img_size": (32, 16), "windows": (8, 8)}, ("0 is 16 x 8", 8, 16)),  # not shifted
        ({"img_size": (30, 32), "windows": (8, 8)}, ("1 is 8 x 8", 8, 7)),  # rounded down
    ],
)
def test_swin_v2_of_hugging_face_looks_at_the_rows_of_a_map_alone(
    whole_state: Callable, facts: dict, words: tuple
) -> None:
    with pytest.raises(ValueError, match=ROWS.format(*words)):
        convert(whole_state, "huggingface", "swinv2", sizes={"depths": facts.get("depths", (2, 1))}, **facts)


@pytest.mark.parametrize("family", ["swin", "swinv2"])
def test_an_oblong_map_that_is_wide_is_written_for_hugging_face(whole_state: Callable, family: str) -> None:
    convert(whole_state, "huggingface", family, img_size=(16, 32))
