"""What is wrong with single keys and what keys contradict each other come in one error, without sequels."""

from pathlib import Path
from typing import Any

import pytest

from swin_train.config import ConfigError, load_config


def problems_of(*args: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(*args)
    return caught.value.problems


@pytest.mark.parametrize(
    "wrong",
    [["TRAIN.BASE_LR", "fast"], ["NO_SUCH", 1], ["DATA.BATCH_SIZE", "x"], ["MODEL.SWIN.DEPTHS", "x"]],
    ids=lambda wrong: wrong[0],
)
def test_contradictions_are_reported_beside_other_problems(wrong: list[Any]) -> None:
    first, *others = problems_of(None, [*wrong, "TRAIN.EPOCHS", 10])

    assert wrong[0] in first
    assert others == ["--opts: TRAIN.EPOCHS is 10; it must be more than TRAIN.WARMUP_EPOCHS, which is 20"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["TRAIN.WARMUP_EPOCHS", "x", "TRAIN.EPOCHS", 10],
        ["TRAIN.WARMUP_EPOCH", 5, "TRAIN.EPOCHS", 10],  # probably meant for WARMUP_EPOCHS
        ["TRAIN", 5, "TRAIN.EPOCHS", 10],
        ["EVAL_MODE", 1, "TRAIN.EPOCHS", 10],
        ["MODEL.SWIN.EMBED_DIM", "x", "MODEL.SWIN.NUM_HEADS", [5, 10, 20, 40]],
        ["MODEL.TYPE", "x", "DATA.MEAN", [0.5]],
        ["MODEL.SWIN.IN_CHANS", "x", "DATA.MEAN", [0.5]],
        ["MODEL.SWIN.DEPTHS", "x", "TRAIN.FREEZE", "stages 5"],
        ["AUG.MIXUP", "x", "DATA.BATCH_SIZE", 5],
        ["MODEL.RESUME", [], "EVAL_MODE", True],
        ["AUG.SCALE", [0.9, 0.1], "AUG.SCALE", "x"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_a_contradiction_that_rests_on_another_problem_is_not_reported(overrides: list[Any]) -> None:
    assert len(problems_of(None, overrides)) == 1


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("TRAIN: {EPOCHS: 10}\nBASE: [nowhere.yaml]\n", []),
        ("TRAIN: {EPOCHS: 10}\nBASE: [empty.yaml, broken.yaml]\n", []),
        ("TRAIN: {EPOCHS: 10}\n", ["TRAIN.WARMUP_EPOCHS"]),
        ("TRAIN: {EPOCHS: 10, WARMUP_EPOCHS: 5, WARMUP_EPOCHS: 20}\n", []),
    ],
)
def test_while_keys_may_be_missing_contradictions_are_not_reported(
    tmp_path: Path, text: str, overrides: list[Any]
) -> None:
    for name, content in (("empty.yaml", ""), ("broken.yaml", "TRAIN: {"), ("x.yaml", text)):
        (tmp_path / name).write_text(content)

    assert len(problems_of(tmp_path / "x.yaml", overrides)) == 1


@pytest.mark.parametrize(
    ("key", "text", "hint"),
    [
        ("DATA.IMG_SIZE", "256 320", "; write [256, 320]"),
        ("DATA.IMG_SIZE", "256x320", "; write [256, 320]"),
        ("DATA.MEAN", "0.5, 0.5, 0.5", "; write [0.5, 0.5, 0.5]"),
        ("DATA.IMG_SIZE", "256 320 3", ""),
        ("DATA.IMG_SIZE", "wide", ""),
        ("SEED", "1 2", ""),
    ],
)
def test_numbers_without_brackets_are_shown_with_them(tmp_path: Path, key: str, text: str, hint: str) -> None:
    section, _, name = key.rpartition(".")
    line = f"{name}: '{text}'"
    (tmp_path / "x.yaml").write_text(f"{section}: {{{line}}}" if section else line)

    typed, written = problems_of(None, [key, text]), problems_of(tmp_path / "x.yaml")

    assert typed[0].endswith(f"got the text '{text}'{hint}")
    assert written[0].endswith(f"got the text '{text}'{hint}")


def test_a_caller_can_say_what_messages_call_the_overrides() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["SEED", "x", "TAG"], overrides_origin="here")

    assert [problem.partition(": ")[0] for problem in caught.value.problems] == ["here", "here"]
