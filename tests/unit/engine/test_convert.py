"""Weights go from file to file through every layout, and come back as they were."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from swin_train.engine import convert as convert_module
from swin_train.engine.convert import convert
from swin_train.weights.layouts import LAYOUTS
from swin_train.weights.read import read_weights
from swin_train.weights.write import write_weights


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_come_back_from_every_layout_as_they_were(
    assert_equal: Callable, published: Path, model: nn.Module, layout: str, ending: str, tmp_path: Path
) -> None:
    there, back = tmp_path / f"there{ending}", tmp_path / f"back{ending}"

    first = convert(published, there, layout)
    second = convert(there, back, "official")

    assert_equal(read_weights(back).state, model.state_dict())
    assert (first.source_layout, first.layout) == ("official", layout)
    assert (second.source_layout, second.layout) == (layout, "official")


def test_a_result_reads_as_one_line(published: Path, family: str, tmp_path: Path) -> None:
    result = convert(published, tmp_path / "w.safetensors", "timm")

    tensors, buffers = {"swin": (50, 4), "swinv2": (62, 7)}[family]
    assert str(result) == (
        f"{tmp_path}/w.safetensors: {tensors} tensors, timm layout (from official); "
        f"dropped {buffers} buffers (recomputed)"
    )


def test_the_official_pth_file_holds_the_weights_as_the_reference_reads_them(
    assert_equal: Callable, published: Path, model: nn.Module, tmp_path: Path
) -> None:
    convert(published, tmp_path / "w.pth", "official")

    content = torch.load(tmp_path / "w.pth", weights_only=True)
    assert content.keys() == {"model"}
    assert_equal(content["model"], model.state_dict())
    assert list(content["model"]) == list(model.state_dict())


@pytest.mark.parametrize("layout", ["timm", "torchvision"])
def test_another_library_loads_the_pth_file(
    peer_model: Callable, published: Path, family: str, layout: str, tmp_path: Path
) -> None:
    convert(published, tmp_path / "w.pth", layout)

    theirs = peer_model(layout, family, num_heads=(1, 2), num_classes=3)
    theirs.load_state_dict(torch.load(tmp_path / "w.pth", weights_only=True))  # strict


def test_a_folder_for_hugging_face_has_weights_and_their_description(
    assert_equal: Callable,
    header: Callable,
    tiny: Callable,
    published: Path,
    model: nn.Module,
    family: str,
    huggingface_files: list[str],
    tmp_path: Path,
) -> None:
    out = tmp_path / "hf"

    result = convert(published, out, "huggingface", cfg=tiny(family))

    assert sorted(path.name for path in out.iterdir()) == huggingface_files
    assert_equal(read_weights(out / "model.safetensors").state, model.state_dict())
    assert header(out / "model.safetensors")["format"] == "pt"  # transformers refuses a header without
    config = json.loads((out / "config.json").read_text())
    assert (config["model_type"], config["image_size"], config["num_labels"]) == (family, 16, 3)
    assert result.path == out


def test_transformers_loads_the_folder_and_gives_the_same_logits(
    tiny: Callable, published: Path, model: nn.Module, family: str, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    convert(published, tmp_path / "hf", "huggingface", cfg=tiny(family))

    theirs, found = transformers.AutoModelForImageClassification.from_pretrained(
        tmp_path / "hf", output_loading_info=True
    )
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        logits, expected = theirs.double()(images).logits, model.double()(images)
    assert not any(found.values())
    # Version 4 has the softmax of Swin v1 in float32.
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_a_folder_for_hugging_face_names_our_classes(
    tiny: Callable, model: nn.Module, family: str, tmp_path: Path
) -> None:
    facts = {"class_names": json.dumps(["kitten", "Kätzchen", "猫"])}
    write_weights(tmp_path / "best.safetensors", model.state_dict(), facts)

    convert(tmp_path / "best.safetensors", tmp_path / "hf", "huggingface", cfg=tiny(family))

    text = (tmp_path / "hf/config.json").read_text(encoding="utf-8")
    config = json.loads(text)
    assert "猫" in text  # for people, not as a number
    assert config["id2label"] == {"0": "kitten", "1": "Kätzchen", "2": "猫"}
    assert config["label2id"] == {"kitten": 0, "Kätzchen": 1, "猫": 2}


@pytest.mark.parametrize("said", ['"abc"', "[1, 2, 3]", "[", "3"])
def test_classes_that_somebody_else_wrote_are_not_believed(
    tiny: Callable, make_model: Callable, said: str, tmp_path: Path
) -> None:
    state = make_model(tiny("swin")).state_dict()
    write_weights(tmp_path / "w.safetensors", state, {"img_size": "16", "class_names": said})

    convert(tmp_path / "w.safetensors", tmp_path / "hf", "huggingface")

    assert json.loads((tmp_path / "hf/config.json").read_text())["num_labels"] == 3


def test_classes_that_are_not_those_of_the_head_are_an_error(
    tiny: Callable, make_model: Callable, fail: Callable, tmp_path: Path
) -> None:
    state = make_model(tiny("swin")).state_dict()
    write_weights(tmp_path / "w.safetensors", state, {"img_size": "16", "class_names": '["a"]'})

    message = fail(tmp_path / "w.safetensors", tmp_path / "hf", "huggingface")

    assert (
        "cannot be written in the huggingface layout: the file names 1 classes, and its head has 3" in message
    )


def test_a_folder_without_a_preprocessor_says_so(
    tiny: Callable, make_model: Callable, huggingface_files: list[str], tmp_path: Path
) -> None:
    state = make_model(tiny("swin")).state_dict()
    write_weights(tmp_path / "w.safetensors", state, {"img_size": "16"})

    result = convert(tmp_path / "w.safetensors", tmp_path / "hf", "huggingface")

    assert sorted(path.name for path in (tmp_path / "hf").iterdir()) == huggingface_files[:2]
    assert result.notes == (
        "no preprocessor_config.json: how images are prepared is not known, or has no equal there",
    )


def test_a_pth_file_says_what_it_cannot_hold(model: nn.Module, tmp_path: Path) -> None:
    facts = {"class_names": '["a", "b", "c"]', "img_size": "16", "weights": "raw"}
    write_weights(tmp_path / "best.safetensors", model.state_dict(), facts)

    result = convert(tmp_path / "best.safetensors", tmp_path / "w.pth", "timm")

    assert result.notes == ("left behind class_names, img_size: a .pth file holds the weights alone",)


@pytest.mark.parametrize(
    ("size", "trained", "layout", "is_noted"),
    [
        (20, "masked", "timm", True),
        (20, "timm", "timm", False),
        (20, "timm", "huggingface", True),
        (20, "masked", "official", False),
        (16, "masked", "timm", False),
    ],
)
def test_padding_that_the_target_does_otherwise_is_noted(
    tiny: Callable, make_model: Callable, size: int, trained: str, layout: str, is_noted: bool, tmp_path: Path
) -> None:
    state = make_model(
        tiny("swin", DATA__IMG_SIZE=size)
    ).state_dict()  # at 20, maps of 10 and 5 in windows of 4
    write_weights(tmp_path / "w.safetensors", state, {"img_size": str(size), "padding": json.dumps(trained)})

    result = convert(tmp_path / "w.safetensors", tmp_path / "out.safetensors", layout)

    note = (
        f"mind that the maps of stage(s) 0, 1 are padded: trained with MODEL.PADDING {trained}, {layout} pads as "
        f"{'timm' if layout == 'timm' else 'reference'} does, so logits at (20, 20) may differ"
    )
    assert result.notes == ((note,) if is_noted else ())


def test_the_padding_of_the_library_that_a_file_comes_from_is_that_of_its_training(
    tiny: Callable, make_model: Callable, header: Callable, tmp_path: Path
) -> None:
    cfg = tiny("swin", DATA__IMG_SIZE=20)
    write_weights(tmp_path / "w.safetensors", make_model(cfg).state_dict(), {})
    convert(tmp_path / "w.safetensors", tmp_path / "timm.pth", "timm", cfg=cfg)

    result = convert(
        tmp_path / "timm.pth", tmp_path / "w.safetensors", "huggingface", cfg=cfg, overwrite=True
    )

    assert "trained with MODEL.PADDING timm, huggingface pads as reference does" in result.notes[-1]
    assert header(tmp_path / "w.safetensors")["padding"] == '"timm"'


def test_a_url_is_converted(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(url: str) -> Path:
        asked.append(url)
        return published

    monkeypatch.setattr(convert_module, "local_file", fetch)

    convert("https://example.org/w.pth", tmp_path / "w.pth", "timm")

    assert asked == ["https://example.org/w.pth"]
    assert read_weights(tmp_path / "w.pth").layout == "timm"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"DATA__IMG_SIZE": 8}, "the stages' windows are [4, 2], torchvision has one for all"),
        ({"MODEL__SWINV2__PRETRAINED_WINDOW_SIZES": [8, 8]}, "learned in windows of [8, 8]"),
    ],
)
def test_what_torchvision_cannot_express_is_refused(
    tiny: Callable,
    make_model: Callable,
    save_published: Callable,
    fail: Callable,
    changes: dict,
    problem: str,
    tmp_path: Path,
) -> None:
    published = save_published(tmp_path / "published.pth", make_model(tiny("swinv2", **changes)))

    message = fail(published, tmp_path / "w.pth", "torchvision")

    assert message.startswith(f"{published}: cannot be written in the torchvision layout: ")
    assert problem in message


@pytest.mark.parametrize("layout", ["timm", "torchvision", "huggingface"])
def test_swin_mlp_is_refused(
    tiny: Callable,
    make_model: Callable,
    save_published: Callable,
    fail: Callable,
    layout: str,
    tmp_path: Path,
) -> None:
    published = save_published(tmp_path / "published.pth", make_model(tiny("swin_mlp")))

    assert "has no Swin-MLP; keep the official layout" in fail(published, tmp_path / "w.pth", layout)
