"""Keys that contradict each other are refused before anything runs, and those that do nothing are warned of."""

from typing import Any

import pytest

from swin_train.config import Config, ConfigError, load_config
from swin_train.config.paths import config_files

EVAL = ["EVAL_MODE", True, "MODEL.RESUME", "x.pth"]


def problems_of(*overrides: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(None, overrides)
    return "\n".join(problem.removeprefix("--opts: ") for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            ["DATA.AUGMENT_ON", "device", "DATA.PIPELINE", "exact"],
            "DATA.AUGMENT_ON is the text 'device'; DATA.PIPELINE exact augments with Pillow;"
            " take portable, native or auto, or AUGMENT_ON auto",
        ),
        (
            ["DATA.RAM_CACHE_GB", 1, "DATA.PIPELINE", "portable"],
            "DATA.RAM_CACHE_GB is 1.0; DATA.PIPELINE is portable; native alone keeps decoded pictures",
        ),
        (
            ["DATA.PIPELINE", "timm", "AUG.AUTO_AUGMENT", "ta_wide"],
            "AUG.AUTO_AUGMENT is the text 'ta_wide'; timm does not have it; take another DATA.PIPELINE",
        ),
        (
            ["DATA.ZIP_MODE", True, "DATA.DATASET", "cifar10"],
            "DATA.ZIP_MODE is True; DATA.DATASET cifar10 has no zip archives, only imagenet and imagenet22K have",
        ),
        (
            ["DATA.DATASET", "parquet"],
            "DATA.CACHE_DIR is the text ''; DATA.DATASET parquet needs a folder to make tables ready in; name one",
        ),
        (
            ["MODEL.SWIN.DEPTHS", []],
            "MODEL.SWIN.DEPTHS is []; it must hold the number of blocks of each stage",
        ),
        (
            ["MODEL.SWIN.NUM_HEADS", [3, 6]],
            "MODEL.SWIN.NUM_HEADS is [3, 6]; it must hold one value per stage, and DEPTHS has 4",
        ),
        (
            ["MODEL.TYPE", "swinv2", "MODEL.SWINV2.PRETRAINED_WINDOW_SIZES", [12]],
            "MODEL.SWINV2.PRETRAINED_WINDOW_SIZES is [12];"
            " it must hold one value per stage, and DEPTHS has 4",
        ),
        (
            ["MODEL.TYPE", "swin_moe", "MODEL.SWIN_MOE.PRETRAINED_WINDOW_SIZES", [12] * 5],
            "MODEL.SWIN_MOE.PRETRAINED_WINDOW_SIZES is [12, 12, 12, 12, 12];"
            " it must hold one value per stage, and DEPTHS has 4",
        ),
        (
            ["MODEL.TYPE", "swin_moe", "MODEL.SWIN_MOE.MOE_BLOCKS", [[-1]]],
            "MODEL.SWIN_MOE.MOE_BLOCKS is [[-1]]; it must hold one value per stage, and DEPTHS has 4",
        ),
        (
            ["MODEL.SWIN.NUM_HEADS", [3, 6, 12, 25]],
            "MODEL.SWIN.NUM_HEADS is [3, 6, 12, 25];"
            " the 768 channels of stage 3 cannot be divided among 25 heads",
        ),
        (
            ["TRAIN.CHECKPOINT_STAGES", [0, 4]],
            "TRAIN.CHECKPOINT_STAGES is [0, 4]; the model has the stages 0, 1, 2, 3",
        ),
        (
            ["TRAIN.CHECKPOINT_STAGES", [0, 0]],
            "TRAIN.CHECKPOINT_STAGES is [0, 0]; it names a stage twice",
        ),
        (
            ["TRAIN.CHECKPOINT_STAGES", [0], "TRAIN.USE_CHECKPOINT", True],
            "TRAIN.CHECKPOINT_STAGES is [0];"
            " TRAIN.USE_CHECKPOINT is True, which is all stages; give one of the two",
        ),
        (
            ["DATA.MEAN", [0.5]],
            "DATA.MEAN is [0.5]; it must hold one number per channel, and MODEL.SWIN.IN_CHANS is 3",
        ),
        (
            ["DATA.STD", [0.5]],
            "DATA.STD is [0.5]; it must hold one number per channel, and MODEL.SWIN.IN_CHANS is 3",
        ),
        (
            ["TRAIN.EPOCHS", 20],
            "TRAIN.EPOCHS is 20; it must be more than TRAIN.WARMUP_EPOCHS, which is 20",
        ),
        (
            ["TRAIN.START_EPOCH", 300],
            "TRAIN.START_EPOCH is 300; it must be less than TRAIN.EPOCHS, which is 300",
        ),
        (
            ["TRAIN.LR_SCHEDULER.NAME", "multistep"],
            "TRAIN.LR_SCHEDULER.MULTISTEPS is []; the multistep schedule needs milestones, in epochs,"
            " such as [200, 260]",
        ),
        (
            ["TRAIN.LR_SCHEDULER.NAME", "multistep", "TRAIN.LR_SCHEDULER.MULTISTEPS", [60, 30]],
            "TRAIN.LR_SCHEDULER.MULTISTEPS is [60, 30]; milestones must rise",
        ),
        (
            ["TRAIN.LR_SCHEDULER.NAME", "multistep", "TRAIN.LR_SCHEDULER.MULTISTEPS", [10]],
            "TRAIN.LR_SCHEDULER.MULTISTEPS is [10]; no milestone may lie in the warm-up of 20 epochs",
        ),
        *(
            (
                ["TRAIN.LR_SCHEDULER.NAME", "multistep", "TRAIN.LR_SCHEDULER.MULTISTEPS", [30, last]],
                f"TRAIN.LR_SCHEDULER.MULTISTEPS is [30, {last}];"
                " a milestone from TRAIN.EPOCHS on, which is 300, never takes effect",
            )
            for last in (300, 400)
        ),
        (
            ["DATA.BATCH_SIZE", 5],
            "DATA.BATCH_SIZE is 5;"
            " images are mixed in pairs: take an even number, or AUG.MIXUP 0 and AUG.CUTMIX 0",
        ),
        (
            ["AUG.MIX_GROUP", 3, "DATA.BATCH_SIZE", 6],
            "AUG.MIX_GROUP is 3;"
            " images are mixed in pairs: take an even number, or AUG.MIXUP 0 and AUG.CUTMIX 0",
        ),
        (
            ["AUG.MIX_GROUP", 48],
            "AUG.MIX_GROUP is 48; it must divide DATA.BATCH_SIZE, which is 128",
        ),
        (["AUG.SCALE", [1, 0.1]], "AUG.SCALE is [1.0, 0.1]; the first must be the smaller one"),
        (["AUG.RATIO", [2, 1]], "AUG.RATIO is [2.0, 1.0]; the first must be the smaller one"),
        (
            ["AUG.CUTMIX_MINMAX", [0.9, 0.1]],
            "AUG.CUTMIX_MINMAX is [0.9, 0.1]; the first must be the smaller one",
        ),
        (
            ["TRAIN.FREEZE", "stages 5"],
            "TRAIN.FREEZE is the text 'stages 5';"
            " it must be none, all_but_head, or 'stages N' with N from 1 to 4",
        ),
        (
            ["TRAIN.FREEZE", "head"],
            "TRAIN.FREEZE is the text 'head';"
            " it must be none, all_but_head, or 'stages N' with N from 1 to 4",
        ),
        (
            ["TRAIN.CLASS_WEIGHTS", [1, 2], "MODEL.NUM_CLASSES", 3],
            "TRAIN.CLASS_WEIGHTS is [1.0, 2.0];"
            " it must hold one number per class, and MODEL.NUM_CLASSES is 3",
        ),
        (
            ["AUG.MIX_OFF_EPOCHS", 1, "AUG.MIXUP", 0, "AUG.CUTMIX", 0],
            "AUG.MIX_OFF_EPOCHS is 1; no images are mixed: set AUG.MIXUP or AUG.CUTMIX, or leave it at 0",
        ),
        (
            ["AUG.MIX_OFF_EPOCHS", 300],
            "AUG.MIX_OFF_EPOCHS is 300; it must be less than TRAIN.EPOCHS, which is 300;"
            " to mix in none, set AUG.MIXUP and AUG.CUTMIX to 0",
        ),
        (
            ["DATA.SAMPLING", "balanced", "DATA.SHUFFLE", "blocks"],
            "DATA.SHUFFLE is the text 'blocks';"
            " DATA.SAMPLING balanced draws from the whole set; take uniform, or SHUFFLE full",
        ),
        (["DATA.CLASSES", ["a", "b", "a"]], "DATA.CLASSES is ['a', 'b', 'a']; it names a class twice"),
        *(
            (
                ["DATA.PROGRESSIVE", sizes],
                f"DATA.PROGRESSIVE is {sizes}; each is an epoch and a size, and epochs must rise",
            )
            for sizes in ([[5, 128], [5, 192]], [[5, 128], [2, 192]])
        ),
        (
            ["DATA.PROGRESSIVE", [[0, 0]]],
            "DATA.PROGRESSIVE is [[0, 0]]; each is an epoch and a size, and a size is 1 pixel or more",
        ),
        (
            ["DATA.PROGRESSIVE", [[0, 128], [300, 192]]],
            "DATA.PROGRESSIVE is [[0, 128], [300, 192]];"
            " a size from TRAIN.EPOCHS on, which is 300, never takes effect",
        ),
        (
            ["DATA.PROGRESSIVE", [[0, 128]], "DATA.IMG_SIZE", [224, 256]],
            "DATA.PROGRESSIVE is [[0, 128]]; its sizes are squares, and DATA.IMG_SIZE is none",
        ),
        (
            ["DATA.PROGRESSIVE", [[0, 128]], "DATA.PIPELINE", "timm"],
            "DATA.PROGRESSIVE is [[0, 128]]; DATA.PIPELINE timm has one size only; take another",
        ),
        (
            ["EVAL_MODE", True],
            "EVAL_MODE is True; --eval needs the checkpoint to evaluate: give --resume PATH",
        ),
        (
            ["EVAL_MODE", True, "MODEL.PRETRAINED", "x"],
            "EVAL_MODE is True; --eval needs the checkpoint to evaluate: give --resume PATH"
            " (--pretrained only starts a training)",
        ),
        (
            [*EVAL, "THROUGHPUT_MODE", True],
            "EVAL_MODE is True; give either --eval or --throughput, not both",
        ),
    ],
)
def test_a_contradiction_is_named(overrides: list[Any], problem: str) -> None:
    assert problems_of(*overrides) == problem


@pytest.mark.parametrize("size", [1, 7, 112, 225, 230, (256, 320), (33, 1000)])
@pytest.mark.parametrize("type_", ["swin", "swinv2", "swin_mlp", "swin_moe"])
def test_any_image_size_is_taken(size: int | tuple[int, int], type_: str) -> None:
    assert load_config(None, ["DATA.IMG_SIZE", size, "MODEL.TYPE", type_]).DATA.IMG_SIZE == size


@pytest.mark.parametrize(
    "overrides",
    [
        [*EVAL, "TRAIN.EPOCHS", 10, "DATA.BATCH_SIZE", 5],
        ["THROUGHPUT_MODE", True, "TRAIN.EPOCHS", 10],
        ["DATA.BATCH_SIZE", 5, "AUG.MIXUP", 0, "AUG.CUTMIX", 0],
        ["DATA.BATCH_SIZE", 6, "AUG.MIX_GROUP", 2],
        ["DATA.BATCH_SIZE", 129, "TRAIN.GLOBAL_BATCH", 8],
        ["TRAIN.LR_SCHEDULER.NAME", "multistep", "TRAIN.LR_SCHEDULER.MULTISTEPS", [20, 299]],
        ["AUG.MIX_OFF_EPOCHS", 299],
        [*EVAL, "AUG.MIX_OFF_EPOCHS", 300, "DATA.PROGRESSIVE", [[400, 128]]],
        ["DATA.PROGRESSIVE", [[3, 128], [299, 192]]],
        ["TRAIN.FREEZE", "stages 4"],
        ["TRAIN.FREEZE", "all_but_head"],
        ["TRAIN.CLASS_WEIGHTS", [1, 2]],
        ["MODEL.SWIN_MLP.NUM_HEADS", [5]],
        *(
            ["MODEL.TYPE", name.lower(), f"MODEL.{name}.PRETRAINED_WINDOW_SIZES", zeros]
            for name in ("SWINV2", "SWIN_MOE")
            for zeros in ([], [0], [0] * 5)
        ),
        ["DATA.ZIP_MODE", True, "DATA.DATASET", "imagenet22K"],
        ["MODEL.TYPE", "swin_mlp"],
    ],
)
def test_what_does_not_matter_here_is_not_checked(overrides: list[Any]) -> None:
    assert isinstance(load_config(None, overrides), Config)


@pytest.mark.parametrize(
    ("overrides", "warnings"),
    [
        (
            ["MODEL.SWINV2.WINDOW_SIZE", 8],
            [
                "--opts: MODEL.SWINV2.WINDOW_SIZE is set, but MODEL.TYPE is swin; set MODEL.SWIN.WINDOW_SIZE",
            ],
        ),
        (
            ["MODEL.TYPE", "swin_mlp", "MODEL.SWIN.QKV_BIAS", False],
            [
                "--opts: MODEL.SWIN.QKV_BIAS is set, but MODEL.TYPE is swin_mlp, which has no such key",
            ],
        ),
        (["MODEL.SWINV2.WINDOW_SIZE", 8, "MODEL.SWIN.WINDOW_SIZE", 8], []),
        (
            ["MODEL.SWIN.WINDOW_SIZE", 8, "MODEL.SWINV2.WINDOW_SIZE", 8],
            ["--opts: MODEL.SWINV2.WINDOW_SIZE is set, but MODEL.TYPE is swin; set MODEL.SWIN.WINDOW_SIZE"],
        ),
        (["MODEL.SIMMIM.NORM_TARGET.ENABLE", True], []),
    ],
)
def test_a_key_of_another_family_is_warned_of(
    overrides: list[Any], warnings: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    load_config(None, overrides)

    assert caplog.messages == warnings


def test_no_configuration_of_the_project_sets_a_key_that_does_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in config_files():
        load_config(name)

    assert caplog.messages == []


@pytest.mark.parametrize(
    ("overrides", "stages"),
    [
        ([], ()),
        (["TRAIN.USE_CHECKPOINT", True], (0, 1, 2, 3)),
        (["TRAIN.CHECKPOINT_STAGES", [2, 0]], (0, 2)),
        (
            ["TRAIN.USE_CHECKPOINT", False, "TRAIN.CHECKPOINT_STAGES", [1]],
            (1,),
        ),  # on top of a BASE that says True
        (["TRAIN.USE_CHECKPOINT", True, "TRAIN.CHECKPOINT_STAGES", [0, 1, 2, 3]], (0, 1, 2, 3)),
    ],
)
def test_the_two_keys_of_checkpointing_say_one_thing(overrides: list[Any], stages: tuple[int, ...]) -> None:
    assert load_config(None, overrides).checkpoint_stages == stages
