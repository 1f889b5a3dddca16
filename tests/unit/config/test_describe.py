"""A configuration can be explained, shown, and written down."""

from pathlib import Path

import pytest

from swin_train.config import Config, describe, dump, load_config, show, to_dict
from swin_train.errors import UserError

OVERRIDES = [
    "TAG",
    "1.50",
    "DATA.CACHE_MODE",
    "no",
    "TRAIN.BASE_LR",
    "1e-8",
    "AUG.CUTMIX_MINMAX",
    "[0.1, 0.5]",
    "DATA.IMG_SIZE",
    "[256, 320]",
]


def test_help_of_a_key_says_type_range_default_and_meaning() -> None:
    assert describe("TRAIN.EPOCHS") == (
        "  TRAIN.EPOCHS: an integer >= 1; default 300\n      Passes over the training set."
    )


def test_help_of_a_key_of_two_types_says_both() -> None:
    assert describe("DATA.IMG_SIZE").startswith(
        "  DATA.IMG_SIZE: an integer or a list of 2 integers >= 1; default 224\n"
    )


def test_help_of_a_section_starts_with_its_meaning_and_holds_its_sections() -> None:
    text = describe("TRAIN")

    assert text.startswith("TRAIN: How long, how fast and with which optimizer.\n  TRAIN.START_EPOCH: ")
    assert "\n\nTRAIN.OPTIMIZER: Which optimizer" in text
    assert "AUG." not in text


def test_help_of_all_names_every_key() -> None:
    text = describe()

    assert all(f"\n  {key}: " in f"\n{text}" for key, _ in Config.walk())


def test_help_of_an_unknown_key_suggests_one() -> None:
    with pytest.raises(
        UserError, match=r"config help: EPOCH is no key and no section. Did you mean TRAIN.EPOCHS\?"
    ):
        describe("EPOCH")


def test_every_key_has_a_sentence() -> None:
    for key, option in Config.walk():
        assert option.doc.endswith("."), key
        assert "\n" not in option.doc


def test_show_gives_every_key_with_its_origin() -> None:
    lines = show(load_config(None, ["TAG", "x"])).splitlines()

    assert len(lines) == len(list(Config.walk()))
    assert "SEED = 0" in lines
    assert [line.split() for line in lines if line.startswith("TAG")] == [["TAG", "=", "x", "#", "--opts"]]


def test_dump_holds_what_was_given_and_loads_as_an_equal_configuration(tmp_path: Path) -> None:
    cfg = load_config(None, OVERRIDES)
    path = tmp_path / "config.yaml"

    path.write_text(dump(cfg))
    again = load_config(path)

    assert again == cfg
    assert set(again.origins) == set(cfg.origins)
    assert dump(again) == dump(cfg)


def test_dump_writes_an_image_size_as_it_was_given() -> None:
    assert dump(load_config(None, ["DATA.IMG_SIZE", "224"])) == "DATA:\n  IMG_SIZE: 224\n"
    assert dump(load_config(None, ["DATA.IMG_SIZE", "[224, 224]"])) == "DATA:\n  IMG_SIZE: [224, 224]\n"


def test_dump_of_the_defaults_loads(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"

    path.write_text(dump(Config()))

    assert load_config(path) == Config()


def test_to_dict_is_plain_and_complete() -> None:
    tree = to_dict(Config())

    assert type(tree["TRAIN"]["OPTIMIZER"]) is dict
    assert tree["TRAIN"]["OPTIMIZER"]["BETAS"] == (0.9, 0.999)
    assert tree.keys() == Config().keys()
