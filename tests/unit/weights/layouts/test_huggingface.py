"""Names and shapes are held against those that transformers wrote and kept, in tests/golden."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from swin_train.weights.geometry import Geometry
from swin_train.weights.layouts import LAYOUTS, infer_spec, recognise
from swin_train.weights.layouts.dropped import Dropped

HUGGINGFACE = LAYOUTS["huggingface"]
FIXTURE: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "golden" / "huggingface.keys.json").read_text()
)
PARTS = ("query", "key", "value")
BLOCK = "swin.encoder.layers.0.blocks.1."


def file_of(family: str, kind: str = "disk") -> dict[str, Tensor]:
    """A file of transformers, with other values in each tensor."""
    shapes = FIXTURE[family][kind]
    return {name: torch.full(shape, i / 8) for i, (name, shape) in enumerate(shapes.items())}


@pytest.mark.parametrize(
    ("family", "kind", "sizes"),
    [("swin", "disk", {}), ("swinv2", "disk", {}), ("swin", "absolute_positions", {"num_patches": 64})],
)
def test_names_and_shapes_are_those_that_transformers_writes(
    whole_state: Callable, family: str, kind: str, sizes: dict
) -> None:
    state = whole_state(family, **sizes)

    converted = HUGGINGFACE.from_official(state, infer_spec(state, Geometry()))

    assert {name: list(tensor.shape) for name, tensor in converted.items()} == FIXTURE[family][kind]


@pytest.mark.parametrize("family", ["swin", "swinv2"])
@pytest.mark.parametrize("kind", ["disk", "memory", "headless"])
def test_files_and_models_of_transformers_are_read(whole_state: Callable, family: str, kind: str) -> None:
    theirs = file_of(family, kind)
    classes = 0 if kind == "headless" else 5

    assert recognise(theirs) is HUGGINGFACE
    ours = HUGGINGFACE.to_official(theirs)[0]
    expected = whole_state(family, classes=classes)
    assert {name: t.shape for name, t in ours.items()} == {name: t.shape for name, t in expected.items()}


@pytest.mark.parametrize("family", ["swin", "swinv2"])
def test_a_file_of_transformers_comes_back_from_ours(assert_equal: Callable, family: str) -> None:
    theirs = file_of(family)

    ours = HUGGINGFACE.to_official(theirs)[0]

    assert_equal(HUGGINGFACE.from_official(ours, infer_spec(ours, Geometry())), theirs)


def test_query_key_and_value_are_joined_in_this_order() -> None:
    theirs = file_of("swin")
    parts = [theirs[f"{BLOCK}attention.self.{part}.bias"] for part in PARTS]

    ours = HUGGINGFACE.to_official(theirs)[0]

    assert torch.equal(ours["layers.0.blocks.1.attn.qkv.bias"], torch.cat(parts))


@pytest.mark.parametrize("family", ["swin", "swinv2"])
def test_what_masked_image_modelling_adds_is_dropped(family: str) -> None:
    theirs = file_of(family, "masked_image_modeling")

    ours, dropped = HUGGINGFACE.to_official(theirs)

    assert dropped == Dropped(pretraining=len(theirs) - len(file_of(family, "headless")))
    assert ours.keys() == HUGGINGFACE.to_official(file_of(family, "headless"))[0].keys()


@pytest.mark.parametrize(
    "name",
    [
        f"{BLOCK}attention.self.relative_position_index",  # files of versions before 5
        f"{BLOCK}attention.relative_position_bias.relative_position_index",
    ],
)
def test_the_index_tables_of_older_files_are_dropped(assert_equal: Callable, name: str) -> None:
    index = {name: torch.zeros(16, 16, dtype=torch.int64)}

    assert_equal(
        HUGGINGFACE.to_official(file_of("swin") | index)[0], HUGGINGFACE.to_official(file_of("swin"))[0]
    )


@pytest.mark.parametrize(("part", "kind"), [("key", "weight"), ("value", "bias")])
def test_a_missing_part_of_the_projection_is_named(part: str, kind: str) -> None:
    theirs = file_of("swin")
    del theirs[f"{BLOCK}attention.self.{part}.{kind}"]

    attention = "layers.0.blocks.1.attn"
    message = rf"{attention}.{part}.{kind} is missing, {attention}.query.{kind} is there; expected both"
    with pytest.raises(ValueError, match=message):
        HUGGINGFACE.to_official(theirs)


def test_a_missing_query_leaves_the_others_for_the_report() -> None:
    theirs = file_of("swin")
    del theirs[f"{BLOCK}attention.self.query.weight"]

    assert "layers.0.blocks.1.attn.key.weight" in HUGGINGFACE.to_official(theirs)[0]


@pytest.mark.parametrize("shape", [(), (4,)])
def test_parts_of_the_projection_of_odd_shapes_are_refused(shape: tuple[int, ...]) -> None:
    theirs = file_of("swin") | {f"{BLOCK}attention.self.query.bias": torch.zeros(shape)}

    message = (
        r"q, k and v do not fit each other: layers.0.blocks.1.attn.query.bias \(.*\), .*; expected one shape"
    )
    with pytest.raises(ValueError, match=message):
        HUGGINGFACE.to_official(theirs)


def test_parts_of_the_projection_that_are_no_vectors_are_refused() -> None:
    theirs = file_of("swin") | {f"{BLOCK}attention.self.{part}.bias": torch.zeros(()) for part in PARTS}

    with pytest.raises(ValueError, match=r"attn.query.bias \(\), .*; expected one shape"):
        HUGGINGFACE.to_official(theirs)


def test_a_key_bias_that_swin_v2_does_not_have_stays_for_the_report() -> None:
    name = "swinv2.encoder.layers.0.blocks.0.attention.self.key.bias"

    assert (
        "layers.0.blocks.0.attn.key.bias"
        in HUGGINGFACE.to_official(file_of("swinv2") | {name: torch.ones(8)})[0]
    )
