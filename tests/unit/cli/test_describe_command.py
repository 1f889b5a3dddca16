"""``main.py describe`` tells a model in numbers, to people and to programs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from swin_train.cli.main import main
from swin_train.config import load_config
from swin_train.config.paths import config_files

REPO = Path(__file__).resolve().parents[3]
TINY = "swin_tiny_patch4_window7_224"
GIANT = """\
DATA: {IMG_SIZE: 1536}
MODEL:
  TYPE: swinv2
  SWINV2: {EMBED_DIM: 512, DEPTHS: [2, 2, 42, 4], NUM_HEADS: [16, 32, 64, 128], WINDOW_SIZE: 32}
"""

SWIN_T = """\
swin_tiny_patch4_window7_224: swin, 224x224 pixels, 1000 classes

parameters        28,288,354
multiply-adds        4.494 G  FLOPs as the papers count them: padding is free
FLOPs                8.981 G  2 for each multiply-add that is executed, with padding
activations         17.055 M  elements given by matrix products and convolutions

stage    map  padded to  channels  heads  depth  window  shift  parameters  GFLOPs  merged to
    0  56x56          -        96      3      2       7      3     0.299 M   1.621      28x28
    1  28x28          -       192      6      2       7      3     1.188 M   1.562      14x14
    2  14x14          -       384     12      6       7      3    11.842 M   4.366        7x7
    3    7x7          -       768     24      2       7      0    14.184 M   1.402          -

memory of a training step: 7.23 GiB, an estimate for one process on a GPU
      0.42 GiB  weights, gradients, averages of adamw, in float32
      6.81 GiB  kept for the backward pass: 128 images x 54.0 MiB, and 53.8 MiB once
  16 bytes for each of 28,288,354 parameters
  a block of T tokens (P with padding) with C channels, in windows of N tokens, keeps in bytes
    8 (C + 2) T + 2 (C + 2 hidden) T + 2 (5 C T) + 4 (heads P)
  products in 16-bit, attention by triton; the whole of it: python -m pydoc swin_train.models.memory
  not counted: temporary tensors, the batch, what CUDA and its allocator hold back
"""


def describe(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["describe", "--cfg", *arguments]) == 0
    return capsys.readouterr().out


def test_people_read_this(capsys: pytest.CaptureFixture[str]) -> None:
    assert describe(capsys, TINY) == SWIN_T


def test_programs_read_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(describe(capsys, TINY, "--json"))

    assert list(told) == [
        *("name", "family", "img_size", "patch_size", "in_chans", "num_classes", "padding"),
        *("parameters", "multiply_adds", "flops", "activations", "stages", "training_memory", "notes"),
    ]
    assert (told["parameters"], told["flops"], told["activations"]) == (28_288_354, 8_981_133_312, 17_055_352)
    assert told["stages"][0] == {
        "map": [56, 56],
        "channels": 96,
        "heads": 3,
        "depth": 2,
        "window": 7,
        "shift": 3,
        "padded": [56, 56],
        "padded_shifted": [56, 56],
        "merged": [28, 28],
        "parameters": 299_190,
        "flops": 1_620_885_504,
    }
    assert list(told["training_memory"]) == [
        *("device", "batch_size", "precision", "attention", "checkpointing", "optimizer"),
        *("trained_parameters", "parameters", "activations_per_image", "activations_once"),
        *("block_formula", "total"),
    ]
    assert told["notes"] == []


def test_what_is_padded_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    text = describe(capsys, TINY, "--opts", "DATA.IMG_SIZE", "[238, 316]")

    rows = [re.split(" +", line.strip())[:3] for line in text.splitlines() if re.match(r" +\d +\d+x", line)]
    assert rows == [
        ["0", "60x79", "63x84"],
        ["1", "30x40", "35x42"],
        ["2", "15x20", "21x21"],
        ["3", "8x10", "14x14"],
    ]
    assert "\nimages are padded to 240x316 pixels, to whole patches\n" in text
    assert "\nmaps are padded to whole windows, as MODEL.PADDING reference says\n" in text
    assert "\nmaps with an odd side are padded by one row or column before merging: 60x79, 15x20\n" in text


def test_swin_mlp_s_padding_is_told_for_both_kinds_of_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    name = "swin_mlp_tiny_c24_patch4_window8_256"

    text = describe(capsys, name)
    one_window = describe(capsys, name, "--opts", "DATA.IMG_SIZE", "[32, 40]")

    assert " 64x64    -/72x72 " in text
    assert "\nmaps are padded with zeros to whole windows, after the slash in shifted blocks\n" in text
    assert "\nmaps are padded to whole windows, with zeros\n" in one_window


def test_the_memory_follows_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    plain, frozen, again, on_cpu = (
        describe(capsys, TINY, "--batch-size", "64", *flags)
        for flags in ([], ["--opts", "TRAIN.FREEZE", "stages 2"], ["--use-checkpoint"], ["--device", "cpu"])
    )

    assert "64 images x" in plain
    assert "parameters, 26,796,064 of them trained\n" in frozen
    assert "blocks of all stages are computed again\n" in again
    assert "estimate for one process on the CPU\n" in on_cpu
    assert "products in float32, attention by reference;" in on_cpu


def test_the_stages_that_are_computed_again_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    stages = ["--opts", "TRAIN.CHECKPOINT_STAGES", "[1, 0]"]

    told = json.loads(describe(capsys, TINY, "--json", *stages))

    assert told["training_memory"]["checkpointing"] == [0, 1]
    assert "blocks of stage 0, 1 are computed again\n" in describe(capsys, TINY, *stages)


def test_classes_are_those_of_the_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    name = "swin_base_patch4_window7_224_22k"

    assert ", 21841 classes\n" in describe(capsys, name)
    assert ", 7 classes\n" in describe(capsys, name, "--opts", "MODEL.NUM_CLASSES", "7")


def test_simmim_s_pre_training_is_not_described_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    name = "simmim_pretrain__swin_base__img192_window6__800ep"

    text = describe(capsys, name)
    told = json.loads(describe(capsys, name, "--json"))

    assert "note: this configuration is for SimMIM pre-training; described is its encoder with" in text
    assert len(told["notes"]) == 1


def test_mixtures_of_experts_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "--cfg", "swin_moe_small_patch4_window12_192_8expert_32gpu_22k"]) == 2

    error = capsys.readouterr().err
    assert error.startswith(
        "error: MODEL.TYPE is 'swin_moe', which is configured but not built by this version"
    )


def test_every_description_is_readable_in_100_columns(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "giant.yaml").write_text(GIANT)
    names = [name for name in config_files() if load_config(name).MODEL.TYPE != "swin_moe"]

    for name in [*names, str(tmp_path / "giant.yaml")]:
        lines = describe(capsys, name, "--use-checkpoint").splitlines()
        assert max(map(len, lines)) <= 100, name


def test_three_billion_parameters_are_described_without_torch(tmp_path: Path) -> None:
    (tmp_path / "giant.yaml").write_text(GIANT)
    words = ["describe", "--cfg", str(tmp_path / "giant.yaml"), "--json"]
    code = (
        f"import sys; from swin_train.cli.main import main; status = main({words!r});"
        "sys.exit(status or 'torch' in sys.modules)"
    )

    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=60
    )

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["parameters"] == 3_001_912_008


def test_its_help_explains(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "--help"]) == 0
    assert "--json" in capsys.readouterr().out
