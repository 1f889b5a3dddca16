"""Flags mean what they mean in the reference, and never hide what a file says."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from swin_train.cli.arguments import FLAGS, MODE_FLAGS
from swin_train.cli.train import flat_parser
from swin_train.config import Config, ConfigError, load_config
from swin_train.errors import UserError

CFG = ["--cfg", "swin_tiny_patch4_window7_224"]


def read(*words: str) -> Config:
    return flat_parser().read_config([*CFG, *words])


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["--batch-size", "64"], "DATA.BATCH_SIZE", 64),
        (["--data-path", "/data: x"], "DATA.DATA_PATH", "/data: x"),
        (["--zip"], "DATA.ZIP_MODE", True),
        (["--cache-mode", "no"], "DATA.CACHE_MODE", "no"),
        (["--pretrained", "a.pth"], "MODEL.PRETRAINED", "a.pth"),
        (["--resume", "b.pth"], "MODEL.RESUME", "b.pth"),
        (["--accumulation-steps", "2"], "TRAIN.ACCUMULATION_STEPS", 2),
        (["--use-checkpoint"], "TRAIN.USE_CHECKPOINT", True),
        (["--disable_amp"], "AMP_ENABLE", False),
        (["--amp-opt-level", "O1"], "AMP_OPT_LEVEL", "O1"),
        (["--output", "out"], "OUTPUT", "out"),
        (["--tag", "1.50"], "TAG", "1.50"),
        (["--throughput"], "THROUGHPUT_MODE", True),
        (["--fused_window_process"], "FUSED_WINDOW_PROCESS", True),
        (["--fused_layernorm"], "FUSED_LAYERNORM", True),
        (["--optim", "fused_adam"], "TRAIN.OPTIMIZER.NAME", "fused_adam"),
        (["--device", "cpu"], "DEVICE", "cpu"),
        (["--opts", "TRAIN.EPOCHS", "30"], "TRAIN.EPOCHS", 30),
    ],
)
def test_a_flag_sets_its_key(words: list[str], key: str, value: Any) -> None:
    cfg = read(*words)

    assert cfg.flat()[key] == value
    assert cfg.origins[key] == words[0].replace("_", "-")


def test_eval_takes_the_checkpoint() -> None:
    assert read("--eval", "--resume", "x.pth").EVAL_MODE


@pytest.mark.parametrize(
    "flag", [f for f in (*FLAGS, *MODE_FLAGS) if "-" in f.name[2:]], ids=lambda f: f.name
)
def test_dashes_and_underscores_are_the_same(flag: Any) -> None:
    value = (
        [] if not flag.metavar else ["O1" if "amp" in flag.name else "no" if "cache" in flag.name else "2"]
    )
    underscored = "--" + flag.name[2:].replace("-", "_")

    assert read(underscored, *value) == read(flag.name, *value)


def test_a_value_keeps_its_underscores() -> None:
    assert read("--data_path=/a_b", "--tag", "c_d").flat().items() >= {
        ("DATA.DATA_PATH", "/a_b"),
        ("TAG", "c_d"),
    }


def test_without_flags_nothing_differs_from_the_file() -> None:
    assert read() == load_config(CFG[1])
    assert read().origins == load_config(CFG[1]).origins


def test_a_value_of_zero_counts_as_given() -> None:
    with pytest.raises(
        ConfigError, match=r"--accumulation-steps: TRAIN.ACCUMULATION_STEPS must be >= 1; got 0"
    ):
        read("--accumulation-steps", "0")


def test_an_empty_value_counts_as_given(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("OUTPUT: somewhere\n")

    assert flat_parser().read_config(["--cfg", str(path), "--output", ""]).OUTPUT == ""


@pytest.mark.parametrize("number", ["-1e-3", "-1.5E+2", "-.5", "-1.", "-7"])
def test_a_negative_number_is_a_value(number: str) -> None:
    cfg = read("--opts", "DATA.MEAN", f"[{number}, 0, 0]", "--tag", number)

    assert (cfg.DATA.MEAN[0], cfg.TAG) == (float(number), number)
    with pytest.raises(ConfigError, match=rf"DATA\.MEAN must be a list of numbers; got {float(number):g}"):
        read("--opts", "DATA.MEAN", number)


def test_opts_may_be_given_in_parts() -> None:
    cfg = read("--opts", "SEED", "1", "--zip", "--opts", "TAG", "x")

    assert (cfg.SEED, cfg.TAG, cfg.DATA.ZIP_MODE) == (1, "x", True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*CFG, "--batch_sise", "3"], "main.py: unknown flag --batch-sise, did you mean --batch-size?; see "),
        ([*CFG, "--batch", "3"], "main.py: unknown flag --batch, did you mean --"),
        ([*CFG, "stray"], "main.py: unexpected argument 'stray'; see main.py --help"),
        (["--zip"], "main.py: the following arguments are required: --cfg; see main.py --help"),
        ([*CFG, "--tag"], "main.py: argument --tag: expected one argument; see main.py --help"),
    ],
)
def test_a_wrong_command_line_is_refused(words: Sequence[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        flat_parser().read_config(words)

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("words", [["--local_rank", "0"], ["--local-rank=3"]])
def test_the_launcher_s_local_rank_is_ignored_with_a_note(
    words: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        cfg = read(*words)

    assert cfg == read()
    assert caplog.messages == ["--local-rank is ignored; the environment that torchrun sets tells the rank"]


def test_apex_s_level_is_taken_with_a_note(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        cfg = read("--amp-opt-level", "O0")

    assert not cfg.amp_enabled
    assert caplog.messages[0].startswith("--amp-opt-level is apex's old flag")
