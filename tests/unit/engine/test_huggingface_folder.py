"""transformers prepares images from our description as the evaluation does here."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from swin_train.config import load_config
from swin_train.data.decode import as_pixels
from swin_train.data.pipelines.exact import ExactEval, Normalize
from swin_train.data.pipelines.pipeline import Place
from swin_train.data.recipe.build import build_eval_recipe
from swin_train.engine.header import cited_facts
from swin_train.engine.huggingface_folder import huggingface_processor


def facts(**changes: object) -> dict[str, str]:
    return cited_facts(load_config(None, [])) | {name: json.dumps(value) for name, value in changes.items()}


def test_the_published_recipe_covers_and_crops() -> None:
    assert huggingface_processor(facts()) == {
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": 256},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }


@pytest.mark.parametrize(
    "changes", [{"crop": False}, {"img_size": 32}, {"crop": False, "img_size": [384, 384]}]
)
def test_images_that_are_squashed_here_are_squashed_there(changes: dict) -> None:
    found = huggingface_processor(facts(**changes))

    assert found is not None
    assert found["do_center_crop"] is False
    assert found["size"] == found["crop_size"]


@pytest.mark.parametrize(
    "changes",
    [
        {"img_size": [224, 256]},
        {"img_size": "large"},
        {"img_size": []},
        {"mean": [0.5], "std": [0.5]},
        {"mean": 0.5},
        {"mean": ["a", "b", "c"]},
        {"interpolation": "nearest"},
    ],
)
def test_images_that_it_cannot_prepare_or_nobody_knows_have_no_description(changes: dict) -> None:
    assert huggingface_processor(facts(**changes)) is None


@pytest.mark.parametrize("name", ["img_size", "interpolation", "crop", "mean", "std"])
def test_without_one_of_the_facts_there_is_no_description(name: str) -> None:
    assert huggingface_processor({key: value for key, value in facts().items() if key != name}) is None


@pytest.mark.parametrize("opts", [[], ["TEST.CROP", False], ["DATA.INTERPOLATION", "bilinear"]])
def test_transformers_gives_the_pixels_of_the_evaluation(opts: list, tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    cfg = load_config(None, ["DATA.IMG_SIZE", 56, *opts])
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(huggingface_processor(cited_facts(cfg))))
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    image = Image.fromarray(noise)

    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path)(image, return_tensors="pt")[
        "pixel_values"
    ][0]

    ours = ExactEval(build_eval_recipe(cfg), Normalize(cfg.DATA.MEAN, cfg.DATA.STD))
    difference = (theirs - ours.show(as_pixels(image), Place(0, 0, 0)).pixels).abs() * 0.224 * 255
    # Of 255 levels; Pillow and torchvision, which resizes there, differ by 0.3 on noise.
    assert difference.mean() < 0.5
    assert theirs.dtype == torch.float32
