"""A header that somebody else wrote is not believed, by any of its readers, and never a traceback."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from swin_train.config import load_config
from swin_train.engine.convert import convert
from swin_train.engine.evaluate import _warn_of_other_inputs
from swin_train.engine.header import INPUT_KEYS, cited_facts, cited_geometry
from swin_train.engine.huggingface_folder import huggingface_processor
from swin_train.weights import metadata as reading
from swin_train.weights.geometry import Geometry, read_geometry
from swin_train.weights.read import Weights
from swin_train.weights.write import write_weights

NESTED = "[" * 100_000
NAMES = ("img_size", "interpolation", "crop", "mean", "std", "padding", "class_names", "windows", "qk_scales")

READERS: dict[str, Callable[[Mapping[str, object]], object]] = {
    "processor": huggingface_processor,
    "geometry": lambda header: read_geometry({}, header).img_size,
    "class_names": reading.class_names,
    "qk_scales": lambda header: reading.factors(header, "qk_scales", 1),
}


@pytest.mark.parametrize("said", [NESTED, "[", "null", b"\xff", 7, None])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_not_ours_is_as_if_it_were_not_there(reader: str, said: object) -> None:
    assert READERS[reader](dict.fromkeys(NAMES, said)) is None


@pytest.mark.parametrize("said", [NESTED, "[[1], [2]]", "{}", '"x"', "-1", "true", 7])
def test_an_evaluation_warns_of_no_value_that_no_configuration_has(
    caplog: pytest.LogCaptureFixture, said: object
) -> None:
    weights = Weights({}, "w.safetensors", dict.fromkeys(INPUT_KEYS, said))

    _warn_of_other_inputs(load_config(None, []), weights, is_padded=True)

    assert caplog.messages == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("said", [NESTED, "[[1], [2]]", "{}", '"x"'])
def test_a_conversion_with_a_hostile_header_goes_through(
    tiny: Callable, make_model: Callable, name: str, said: str, tmp_path: Path
) -> None:
    cfg = tiny("swin", DATA__IMG_SIZE=20)  # maps of 10 and 5 in windows of 4: padding matters
    header = cited_facts(cfg) | cited_geometry(Geometry((4, 4))) | {name: said}
    write_weights(tmp_path / "w.safetensors", make_model(cfg).state_dict(), header)

    convert(tmp_path / "w.safetensors", tmp_path / "hf", "huggingface", cfg=cfg)

    config = json.loads((tmp_path / "hf/config.json").read_text())
    assert (config["image_size"], config["num_labels"]) == (20, 3)


@pytest.mark.parametrize("changes", [{"interpolation": []}, {"crop": "yes"}, {"img_size": [[1], [2]]}])
def test_values_of_another_kind_give_no_description_of_images(tiny: Callable, changes: dict) -> None:
    known = cited_facts(tiny("swin"))

    assert huggingface_processor(known) is not None
    assert huggingface_processor(known | {k: json.dumps(v) for k, v in changes.items()}) is None


def test_a_square_is_one_side(tiny: Callable) -> None:
    assert [
        cited_facts(tiny("swin", DATA__IMG_SIZE=size))["img_size"] for size in (16, [16, 16], [16, 24])
    ] == ["16", "16", "[16, 24]"]
