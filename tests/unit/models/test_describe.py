"""``describe`` says a model in numbers, without building it and without torch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from swin_train.config import load_config
from swin_train.errors import UserError
from swin_train.models.build import build_model
from swin_train.models.describe import describe, num_parameters
from swin_train.models.freeze import freeze

REPO = Path(__file__).resolve().parents[3]
TINY = "swin_tiny_patch4_window7_224"
MLP = "swin_mlp_tiny_c24_patch4_window8_256"


def test_swin_t_is_the_one_of_the_paper() -> None:
    swin = describe(load_config(TINY), 1000)

    assert (swin.name, swin.family, swin.img_size, swin.num_classes) == (TINY, "swin", (224, 224), 1000)
    assert (swin.parameters, swin.multiply_adds) == (28_288_354, 4_494_405_120)
    assert [stage.map for stage in swin.stages] == [(56, 56), (28, 28), (14, 14), (7, 7)]
    assert [stage.padded for stage in swin.stages] == [stage.map for stage in swin.stages]
    assert [(stage.window, stage.shift) for stage in swin.stages] == [(7, 3), (7, 3), (7, 3), (7, 0)]
    assert [(stage.channels, stage.heads) for stage in swin.stages] == [
        (96, 3),
        (192, 6),
        (384, 12),
        (768, 24),
    ]
    assert [stage.merged for stage in swin.stages] == [(28, 28), (14, 14), (7, 7), None]


def test_stages_embedding_and_end_make_up_the_whole() -> None:
    swin = describe(load_config(TINY), 1000)

    outside = 48 * 96 + 96 + 2 * 96 + 2 * 768 + 768 * 1000 + 1000
    assert sum(stage.parameters for stage in swin.stages) + outside == swin.parameters
    assert sum(stage.flops for stage in swin.stages) + 2 * (56**2 * 48 * 96 + 768 * 1000) == swin.flops


def test_what_is_padded_is_told() -> None:
    swin = describe(load_config(TINY, ["DATA.IMG_SIZE", (240, 320), "MODEL.PADDING", "masked"]), 1000)

    assert swin.padding == "masked"
    assert [stage.map for stage in swin.stages] == [(60, 80), (30, 40), (15, 20), (8, 10)]
    assert [stage.padded for stage in swin.stages] == [(63, 84), (35, 42), (21, 21), (14, 14)]
    assert [stage.padded_shifted for stage in swin.stages] == [stage.padded for stage in swin.stages]


def test_swin_mlp_pads_to_shift() -> None:
    mlp = describe(load_config(MLP), 1000)

    assert [stage.padded for stage in mlp.stages] == [stage.map for stage in mlp.stages]
    assert [stage.padded_shifted for stage in mlp.stages] == [(72, 72), (40, 40), (24, 24), (8, 8)]


def test_freezing_all_but_a_missing_head_is_refused_as_in_training() -> None:
    cfg = load_config(TINY, ["TRAIN.FREEZE", "all_but_head"])
    with torch.device("meta"):
        model = build_model(cfg, num_classes=0)

    with pytest.raises(UserError) as of_describe:
        describe(cfg, num_classes=0)
    with pytest.raises(UserError) as of_freeze:
        freeze(model, cfg.TRAIN.FREEZE)

    assert str(of_describe.value) == str(of_freeze.value)


@pytest.mark.parametrize("rule", ["none", "stages 2", "all_but_head"])
def test_memory_counts_the_parameters_that_are_trained(rule: str) -> None:
    cfg = load_config(TINY, ["TRAIN.FREEZE", rule])
    with torch.device("meta"):
        model = build_model(cfg)
    freeze(model, rule)

    memory = describe(cfg, 1000).training_memory

    assert memory.trained_parameters == num_parameters(model, trainable_only=True)


def test_describing_imports_no_torch() -> None:
    code = (
        "import sys; from swin_train.config import load_config; from swin_train.models.describe import describe;"
        f"describe(load_config('{TINY}'), 1000); sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], cwd=REPO, timeout=60).returncode == 0
