"""The table of published models against the configurations, whose headers say the same."""

import re
from pathlib import Path

import pytest

from swin_train.config import load_config
from swin_train.config.paths import config_files
from swin_train.models.describe import describe
from swin_train.models.outline import FAMILIES
from swin_train.zoo.published import ModelCard, list_models

CARDS = list_models()


def header(name: str) -> str:
    lines = config_files()[name].read_text().splitlines()
    return "\n".join(line.removeprefix("# ") for line in lines if line.startswith("#"))


def test_every_classifier_that_is_built_is_listed_once() -> None:
    names = [name for name, path in config_files().items() if "demo" not in path.parts]
    classifiers = [name for name in names if not name.startswith("simmim_pretrain")]

    assert sorted(card.name for card in CARDS) == sorted(
        name for name in classifiers if load_config(name).MODEL.TYPE in FAMILIES
    )


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_a_card_says_what_the_header_and_the_model_say(card: ModelCard) -> None:
    text, cfg = header(card.name), load_config(card.name)
    (expected,) = re.findall(r"^Expected: (.*)", text, re.MULTILINE)
    top1, top5 = (
        float(found[1]) if (found := re.search(rf"([\d.]+) % top-{k}", expected)) else None for k in (1, 5)
    )

    assert (card.top1, card.top5) == (top1, top5)
    assert card.img_size == cfg.DATA.IMG_SIZE
    assert card.parameters == float(re.findall(r"([\d.]+) M parameters", text)[0])
    assert card.parameters == round(describe(cfg).parameters / 1e6, 1)
    assert card.trained_on == ("ImageNet-22K" if cfg.DATA.DATASET == "imagenet22K" else "ImageNet-1K")


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_the_training_before_is_the_one_of_the_recipe(card: ModelCard) -> None:
    text = header(card.name)

    assert (card.pretrained_on is not None) == ("--pretrained" in text)
    is_22k = "22kto1k" in card.name
    assert (card.pretrained_on == "ImageNet-22K") == is_22k
    assert ("SimMIM" in (card.pretrained_on or "")) == text.startswith("SimMIM")


@pytest.mark.parametrize("card", [card for card in CARDS if card.weights], ids=lambda card: card.name)
def test_weights_are_the_authors_files_of_that_model(card: ModelCard) -> None:
    assert card.weights is not None
    folder, _, file = card.weights.rpartition("/")

    assert re.fullmatch(r"https://github.com/SwinTransformer/storage/releases/download/v\d\.\d\.\d", folder)
    assert card.name.startswith(file.removesuffix(".pth"))  # some files leave "_finetune" out
    assert file.endswith(".pth")


def test_weights_are_named_by_the_commands_that_start_from_them() -> None:
    """Fine-tuning recipes say --pretrained FILE; it is a published one."""
    published = {Path(card.weights).name for card in CARDS if card.weights}
    started_from = {
        found[1]
        for card in CARDS
        if not card.name.startswith("simmim")
        and (found := re.search(r"--pretrained (\S+)", header(card.name)))
    }

    # There is no configuration for the ImageNet-22K weights at 384.
    assert {file for file in started_from - published if "window12_384_22k" not in file} == set()


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("swinv2_tiny*", ["swinv2_tiny_patch4_window8_256", "swinv2_tiny_patch4_window16_256"]),
        ("swin_base_patch4_window7_224", ["swin_base_patch4_window7_224"]),
        ("nothing", []),
    ],
)
def test_a_pattern_chooses_by_name(pattern: str, names: list[str]) -> None:
    assert [card.name for card in list_models(pattern)] == names
