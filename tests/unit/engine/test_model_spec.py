"""What files, runs and configurations say of a model is put together, and must not differ."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from swin_train.distributed.channel import Channel
from swin_train.engine.commit import Commit, commit
from swin_train.engine.convert import convert
from swin_train.engine.header import make_header
from swin_train.models.build import build_model
from swin_train.weights.read import read_weights
from swin_train.weights.write import write_weights


def test_what_our_files_say_of_themselves_goes_along(
    header: Callable, published: Path, model: nn.Module, tmp_path: Path
) -> None:
    names = ["kitten", "Kätzchen", "猫"]
    facts = {"class_names": json.dumps(names), "img_size": "16", "mean": "[0.5]", "weights": "raw"}
    write_weights(tmp_path / "best.safetensors", model.state_dict(), facts)

    convert(tmp_path / "best.safetensors", tmp_path / "timm.safetensors", "timm")

    assert facts.items() <= header(tmp_path / "timm.safetensors").items()


def test_averaged_weights_stay_known_as_such(
    header: Callable, tiny: Callable, make_model: Callable, tmp_path: Path
) -> None:
    state = make_model(tiny("swin")).state_dict()
    write_weights(tmp_path / "best_ema.safetensors", state, {"weights": "ema"})

    convert(tmp_path / "best_ema.safetensors", tmp_path / "w.safetensors", "timm")

    assert header(tmp_path / "w.safetensors")["weights"] == "ema"


def test_windows_stay_known_where_the_layout_has_no_buffers(
    header: Callable,
    tiny: Callable,
    make_model: Callable,
    save_published: Callable,
    fail: Callable,
    tmp_path: Path,
) -> None:
    cfg = tiny("swinv2", MODEL__SWINV2__PRETRAINED_WINDOW_SIZES=[3, 0])
    published = save_published(tmp_path / "published.pth", make_model(cfg))

    convert(published, tmp_path / "timm.safetensors", "timm")

    facts = header(tmp_path / "timm.safetensors")
    assert (facts["windows"], facts["pretrained_windows"]) == ("[4, 4]", "[3, 0]")
    message = fail(tmp_path / "timm.safetensors", tmp_path / "w.pth", "torchvision")
    assert "learned in windows of [3, 0] (PRETRAINED_WINDOW_SIZES)" in message


@pytest.mark.parametrize("said", ["4", "[4]", "[4, -1]", '["4", "4"]', "[4, 4"])
def test_windows_that_somebody_else_wrote_are_not_believed(
    tiny: Callable, make_model: Callable, fail: Callable, said: str, tmp_path: Path
) -> None:
    state = make_model(tiny("swinv2")).state_dict()
    write_weights(tmp_path / "w.safetensors", state, {"windows": said, "pretrained_windows": said})

    assert fail(tmp_path / "w.safetensors", tmp_path / "w.pth", "torchvision").endswith("by --cfg")


def test_a_scale_of_attention_goes_along_and_is_refused_elsewhere(
    tiny: Callable, make_model: Callable, save_published: Callable, fail: Callable, tmp_path: Path
) -> None:
    cfg = tiny("swin", MODEL__SWIN__QK_SCALE=0.5)
    published = save_published(tmp_path / "published.pth", make_model(cfg))
    convert(published, tmp_path / "w.safetensors", "official", cfg=cfg)

    message = fail(tmp_path / "w.safetensors", tmp_path / "timm.pth", "timm")

    assert (
        "w.safetensors: cannot be written in the timm layout: the attention is scaled by [0.5, 0.5]"
        in message
    )


@pytest.mark.parametrize(("scale", "now"), [(0.25, [0.25, 0.25]), (None, [8**-0.5, 8**-0.5])])
def test_another_scale_of_attention_is_an_error(
    tiny: Callable, make_model: Callable, fail: Callable, scale: float | None, now: list, tmp_path: Path
) -> None:
    state = make_model(tiny("swin")).state_dict()
    write_weights(tmp_path / "w.safetensors", state, {"qk_scales": "[0.5, 0.5]"})

    message = fail(
        tmp_path / "w.safetensors", tmp_path / "w.pth", "timm", cfg=tiny("swin", MODEL__SWIN__QK_SCALE=scale)
    )

    assert f"w.safetensors: qk_scales is [0.5, 0.5] by what it holds and {now} by --cfg; " in message


@pytest.mark.parametrize("said", ["[", "0.5", '["0.5", "0.5"]', "[0.5]", "[NaN, NaN]", "null"])
def test_a_scale_that_somebody_else_wrote_is_not_believed(
    tiny: Callable, make_model: Callable, said: str, tmp_path: Path
) -> None:
    write_weights(tmp_path / "w.safetensors", make_model(tiny("swin")).state_dict(), {"qk_scales": said})

    assert convert(tmp_path / "w.safetensors", tmp_path / "w.pth", "timm").layout == "timm"


def test_weights_without_a_head_are_those_of_a_configuration_with_one(
    tiny: Callable, save_published: Callable, tmp_path: Path
) -> None:
    cfg = tiny("swin", MODEL__NUM_CLASSES=5)
    published = save_published(tmp_path / "published.pth", build_model(cfg, 0))

    convert(published, tmp_path / "hf", "huggingface", cfg=cfg)

    assert json.loads((tmp_path / "hf/config.json").read_text())["architectures"] == ["SwinModel"]


def test_windows_that_the_file_does_not_tell_come_from_the_configuration(
    assert_equal: Callable, tiny: Callable, make_model: Callable, fail: Callable, tmp_path: Path
) -> None:
    cfg = tiny("swinv2")
    model = make_model(cfg)
    write_weights(tmp_path / "w.safetensors", model.state_dict(), {})

    message = fail(tmp_path / "w.safetensors", tmp_path / "tv.pth", "torchvision")
    assert message.endswith("; name its configuration by --cfg")

    convert(tmp_path / "w.safetensors", tmp_path / "tv.pth", "torchvision", cfg=cfg)
    assert_equal(read_weights(tmp_path / "tv.pth").state, model.state_dict())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"MODEL__SWINV2__DEPTHS": [1, 1]}, "is not of the model that --cfg describes. The file: Swin v2, "),
        ({"MODEL__SWINV2__WINDOW_SIZE": 2}, "windows is [4, 4] by what it holds and [2, 2] by --cfg; "),
        (
            {"MODEL__SWINV2__PRETRAINED_WINDOW_SIZES": [2, 3]},
            "pretrained_windows is [0, 0] by what it holds and [2, 3] by --cfg; ",
        ),
        ({"MODEL__NUM_CLASSES": 5}, "Misshapen: head.weight (3, 16) instead of (5, 16), "),
        ({"MODEL__SWINV2__QKV_BIAS": False}, "Unknown: layers.0.blocks.0.attn.q_bias"),
    ],
)
def test_a_configuration_that_contradicts_the_file_is_an_error(
    tiny: Callable,
    make_model: Callable,
    save_published: Callable,
    fail: Callable,
    changes: dict,
    problem: str,
    tmp_path: Path,
) -> None:
    published = save_published(tmp_path / "published.pth", make_model(tiny("swinv2")))

    message = fail(published, tmp_path / "w.pth", "timm", cfg=tiny("swinv2", **changes))

    assert message.startswith(f"{published}: ")
    assert problem in message


def test_the_same_windows_in_other_words_are_no_contradiction(
    tiny: Callable, make_model: Callable, save_published: Callable, tmp_path: Path
) -> None:
    published = save_published(tmp_path / "published.pth", make_model(tiny("swinv2")))
    own = tiny("swinv2", MODEL__SWINV2__PRETRAINED_WINDOW_SIZES=[4, 4])

    assert convert(published, tmp_path / "w.pth", "torchvision", cfg=own).layout == "torchvision"


def test_another_window_that_the_same_maps_bound_is_no_contradiction(
    tiny: Callable, make_model: Callable, tmp_path: Path
) -> None:
    file, small = tmp_path / "w.safetensors", {"DATA__IMG_SIZE": 8}  # maps of 4 and 2
    write_weights(file, make_model(tiny("swin", **small)).state_dict(), {"window_size": "4"})
    larger = tiny("swin", **small, MODEL__SWIN__WINDOW_SIZE=16)

    assert convert(file, tmp_path / "w.pth", "official", cfg=larger).layout == "official"


def test_another_image_size_than_the_file_says_is_an_error(
    tiny: Callable, make_model: Callable, fail: Callable, tmp_path: Path
) -> None:
    write_weights(tmp_path / "w.safetensors", make_model(tiny("swin")).state_dict(), {"img_size": "16"})

    message = fail(
        tmp_path / "w.safetensors", tmp_path / "hf", "huggingface", cfg=tiny("swin", DATA__IMG_SIZE=32)
    )

    assert "img_size is [16, 16] by what it holds and [32, 32] by --cfg; " in message


@pytest.fixture
def step_folder(tiny: Callable, make_model: Callable, family: str, tmp_path: Path) -> Path:
    """A run's checkpoint with raw and averaged weights, as the engine writes it."""
    raw = make_model(tiny(family)).state_dict()
    tensors = {f"model.{name}": tensor for name, tensor in raw.items()}
    tensors |= {f"ema.{name}": tensor + 1 for name, tensor in raw.items()}
    header = make_header(tiny(family), make_model(tiny(family)), ["a", "b", "c"])
    content = {"header": {name: json.loads(value) for name, value in header.items()}}

    folder = tmp_path / "step-00000007"
    commit(Commit(folder, tensors, json.dumps(content), 7, owner=1, check_owner=bool), Channel())
    return folder


@pytest.mark.parametrize(("which", "added"), [("raw", 0), ("ema", 1)])
def test_a_step_folder_gives_the_weights_asked_for_and_what_the_run_recorded(
    assert_equal: Callable,
    header: Callable,
    step_folder: Path,
    model: nn.Module,
    family: str,
    which: Any,
    added: int,
    tmp_path: Path,
) -> None:
    out = tmp_path / "w.safetensors"

    convert(step_folder, out, "torchvision", which=which)

    expected = {name: tensor + added for name, tensor in model.state_dict().items()}
    assert_equal(read_weights(out, which).state, expected)
    facts = {
        name: json.loads(value) for name, value in header(out).items() if name not in ("weights", "format")
    }
    of_v1, of_v2 = facts.pop("qk_scales", None), facts.pop("pretrained_windows", None)
    assert (of_v1, of_v2) == {"swin": ([8**-0.5, 8**-0.5], None), "swinv2": (None, [0, 0])}[family]
    assert facts == {
        "model": "swin_tiny_patch4_window7_224",
        "class_names": ["a", "b", "c"],
        "img_size": 16,
        "interpolation": "bicubic",
        "crop": True,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "padding": "reference",
        "windows": [4, 4],
        "window_size": 4,
    }
    assert header(out)["weights"] == which


def test_a_damaged_step_folder_is_an_error(fail: Callable, step_folder: Path, tmp_path: Path) -> None:
    [path] = step_folder.glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    assert fail(step_folder, tmp_path / "w.pth", "timm").startswith(f"{path} has another SHA-256 than its")


def test_what_is_no_swin_is_refused(fail: Callable, tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", {"fc.weight": torch.ones(2, 2)}, {})

    message = fail(tmp_path / "w.safetensors", tmp_path / "w.pth", "official")

    assert message.startswith(f"{tmp_path}/w.safetensors: is not the weights of a Swin; ")
