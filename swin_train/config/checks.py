"""Rules that concern several keys.

A rule yields (key, what is wrong and what would be right); the loader puts where the key was set and its
value in front: ``my.yaml:3: TRAIN.EPOCHS is 10; it must be more than TRAIN.WARMUP_EPOCHS, which is 20``.
"""

import re
from collections.abc import Callable, Iterator, Set

from swin_train.config.freeze import ALL_BUT_HEAD, parse_freeze
from swin_train.config.schema.model import Architecture, Model, SwinMoe, SwinV2
from swin_train.config.schema.root import Config

Findings = Iterator[tuple[str, str]]

ARCHIVED = ("imagenet", "imagenet22K")  # the values of DATA.DATASET that ZIP_MODE reads from zip archives


def check(cfg: Config, doubtful: Set[str] = frozenset()) -> Findings:
    """Yield everything about ``cfg`` that cannot work.

    Args:
        cfg: the configuration.
        doubtful: keys whose values in ``cfg`` are not what was meant; no finding rests on one of them.
    """
    names = {key.rpartition(".")[2] for key in doubtful}
    for rule, unnamed in _RULES.items():
        if names.isdisjoint(unnamed):
            yield from (
                (key, text)
                for key, text in rule(cfg)
                if names.isdisjoint(re.findall(r"\w+", f"{key} {text}"))
            )


def idle_keys(cfg: Config) -> Findings:
    """Yield the keys that were set and do nothing, because they are those of another family than MODEL.TYPE.

    Where the family's own key of that name is set afterwards, as on top of a BASE, nothing is amiss.
    """
    families = {f"MODEL.{name}" for name, kind in Model.walk_sections() if issubclass(kind, Architecture)}
    own, keys = cfg.MODEL.selected_key, list(cfg.origins)
    for number, key in enumerate(keys):
        section, _, name = key.rpartition(".")
        if section in families - {own} and f"{own}.{name}" not in keys[number:]:
            advice = f"; set {own}.{name}" if name in cfg.MODEL.selected else ", which has no such key"
            yield key, f"is set, but MODEL.TYPE is {cfg.MODEL.TYPE}{advice}"


def _stages_agree(cfg: Config) -> Findings:
    model, key = cfg.MODEL.selected, cfg.MODEL.selected_key
    stages = len(model.DEPTHS)
    if stages == 0:
        yield f"{key}.DEPTHS", "it must hold the number of blocks of each stage"
        return
    lists = {"NUM_HEADS": len(model.NUM_HEADS)}
    if isinstance(model, (SwinV2, SwinMoe)) and any(model.PRETRAINED_WINDOW_SIZES):
        lists["PRETRAINED_WINDOW_SIZES"] = len(model.PRETRAINED_WINDOW_SIZES)
    if isinstance(model, SwinMoe):
        lists["MOE_BLOCKS"] = len(model.MOE_BLOCKS)
    for name, length in lists.items():
        if length != stages:
            yield f"{key}.{name}", f"it must hold one value per stage, and DEPTHS has {stages}"


def _heads_divide_channels(cfg: Config) -> Findings:
    model = cfg.MODEL.selected
    for stage, heads in enumerate(model.NUM_HEADS):
        if (channels := model.EMBED_DIM << stage) % heads:
            key = f"{cfg.MODEL.selected_key}.NUM_HEADS"
            yield key, f"the {channels} channels of stage {stage} cannot be divided among {heads} heads"


def _channels_agree(cfg: Config) -> Findings:
    channels = cfg.MODEL.selected.IN_CHANS
    for key, values in (("DATA.MEAN", cfg.DATA.MEAN), ("DATA.STD", cfg.DATA.STD)):
        if len(values) != channels:
            yield (
                key,
                f"it must hold one number per channel, and {cfg.MODEL.selected_key}.IN_CHANS is {channels}",
            )


def _epochs_outlast_warmup(cfg: Config) -> Findings:
    train = cfg.TRAIN
    if cfg.is_training and train.EPOCHS <= train.WARMUP_EPOCHS:
        yield "TRAIN.EPOCHS", f"it must be more than TRAIN.WARMUP_EPOCHS, which is {train.WARMUP_EPOCHS}"
    if cfg.is_training and train.START_EPOCH >= train.EPOCHS:
        yield "TRAIN.START_EPOCH", f"it must be less than TRAIN.EPOCHS, which is {train.EPOCHS}"


def _milestones_fit(cfg: Config) -> Findings:
    key, steps = "TRAIN.LR_SCHEDULER.MULTISTEPS", cfg.TRAIN.LR_SCHEDULER.MULTISTEPS
    if cfg.TRAIN.LR_SCHEDULER.NAME != "multistep" or not cfg.is_training:
        return
    if not steps:
        yield key, "the multistep schedule needs milestones, in epochs, such as [200, 260]"
    elif list(steps) != sorted(set(steps)):
        yield key, "milestones must rise"
    elif steps[0] < cfg.TRAIN.WARMUP_EPOCHS:
        yield key, f"no milestone may lie in the warm-up of {cfg.TRAIN.WARMUP_EPOCHS} epochs"
    elif steps[-1] >= cfg.TRAIN.EPOCHS:
        yield key, f"a milestone from TRAIN.EPOCHS on, which is {cfg.TRAIN.EPOCHS}, never takes effect"


def _groups_can_be_mixed(cfg: Config) -> Findings:
    aug, batch = cfg.AUG, cfg.DATA.BATCH_SIZE
    if not (aug.is_mixing and cfg.is_training):
        return
    if 0 < cfg.TRAIN.GLOBAL_BATCH < batch:  # the micro-batch follows from the number of processes
        return
    key = "AUG.MIX_GROUP" if aug.MIX_GROUP else "DATA.BATCH_SIZE"
    if (aug.MIX_GROUP or batch) % 2:
        yield key, "images are mixed in pairs: take an even number, or AUG.MIXUP 0 and AUG.CUTMIX 0"
    if aug.MIX_GROUP and batch % aug.MIX_GROUP:
        yield key, f"it must divide DATA.BATCH_SIZE, which is {batch}"


def _ranges_rise(cfg: Config) -> Findings:
    for key, limits in (
        ("AUG.SCALE", cfg.AUG.SCALE),
        ("AUG.RATIO", cfg.AUG.RATIO),
        ("AUG.CUTMIX_MINMAX", cfg.AUG.CUTMIX_MINMAX),
    ):
        if limits and limits[0] > limits[1]:
            yield key, "the first must be the smaller one"


def _mixing_ends_in_time(cfg: Config) -> Findings:
    if not (cfg.AUG.MIX_OFF_EPOCHS and cfg.is_training):
        return
    if not cfg.AUG.is_mixing:
        yield "AUG.MIX_OFF_EPOCHS", "no images are mixed: set AUG.MIXUP or AUG.CUTMIX, or leave it at 0"
    elif cfg.AUG.MIX_OFF_EPOCHS >= cfg.TRAIN.EPOCHS:
        yield (
            "AUG.MIX_OFF_EPOCHS",
            f"it must be less than TRAIN.EPOCHS, which is {cfg.TRAIN.EPOCHS};"
            " to mix in none, set AUG.MIXUP and AUG.CUTMIX to 0",
        )


def _order_is_possible(cfg: Config) -> Findings:
    data = cfg.DATA
    if data.SAMPLING == "balanced" and data.SHUFFLE == "blocks":
        yield "DATA.SHUFFLE", "DATA.SAMPLING balanced draws from the whole set; take uniform, or SHUFFLE full"
    if len(set(data.CLASSES)) < len(data.CLASSES):
        yield "DATA.CLASSES", "it names a class twice"


def _sizes_progress(cfg: Config) -> Findings:
    key, sizes = "DATA.PROGRESSIVE", cfg.DATA.PROGRESSIVE
    if not sizes:
        return
    epochs = [epoch for epoch, _ in sizes]
    if epochs != sorted(set(epochs)):
        yield key, "each is an epoch and a size, and epochs must rise"
    elif min(size for _, size in sizes) < 1:
        yield key, "each is an epoch and a size, and a size is 1 pixel or more"
    elif cfg.is_training and epochs[-1] >= cfg.TRAIN.EPOCHS:
        yield key, f"a size from TRAIN.EPOCHS on, which is {cfg.TRAIN.EPOCHS}, never takes effect"
    if cfg.DATA.img_size[0] != cfg.DATA.img_size[1]:
        yield key, "its sizes are squares, and DATA.IMG_SIZE is none"
    if cfg.DATA.PIPELINE == "timm":
        yield key, "DATA.PIPELINE timm has one size only; take another"


def _images_can_be_prepared(cfg: Config) -> Findings:
    data, by_pillow = cfg.DATA, cfg.DATA.PIPELINE in ("exact", "timm")
    if data.AUGMENT_ON == "device" and by_pillow:
        yield (
            "DATA.AUGMENT_ON",
            f"DATA.PIPELINE {data.PIPELINE} augments with Pillow; take portable, native or auto, or AUGMENT_ON auto",
        )
    if data.RAM_CACHE_GB and (by_pillow or data.PIPELINE == "portable"):
        yield "DATA.RAM_CACHE_GB", f"DATA.PIPELINE is {data.PIPELINE}; native alone keeps decoded pictures"
    if data.PIPELINE == "timm" and cfg.AUG.AUTO_AUGMENT == "ta_wide":
        yield "AUG.AUTO_AUGMENT", "timm does not have it; take another DATA.PIPELINE"


def _data_can_be_opened(cfg: Config) -> Findings:
    data = cfg.DATA
    if data.ZIP_MODE and data.DATASET not in ARCHIVED:
        yield (
            "DATA.ZIP_MODE",
            f"DATA.DATASET {data.DATASET} has no zip archives, only {' and '.join(ARCHIVED)} have",
        )
    if data.DATASET == "parquet" and not data.CACHE_DIR:
        yield "DATA.CACHE_DIR", "DATA.DATASET parquet needs a folder to make tables ready in; name one"


def _freeze_is_known(cfg: Config) -> Findings:
    stages = len(cfg.MODEL.selected.DEPTHS)
    try:
        frozen = parse_freeze(cfg.TRAIN.FREEZE)
        is_known = frozen == ALL_BUT_HEAD or frozen <= stages
    except ValueError:
        is_known = False
    if not is_known:
        yield "TRAIN.FREEZE", f"it must be none, all_but_head, or 'stages N' with N from 1 to {stages}"


def _checkpointed_stages_exist(cfg: Config) -> Findings:
    key, stages = "TRAIN.CHECKPOINT_STAGES", cfg.TRAIN.CHECKPOINT_STAGES
    num_stages = len(cfg.MODEL.selected.DEPTHS)
    if len(set(stages)) < len(stages):
        yield key, "it names a stage twice"
    elif num_stages and max(stages, default=0) >= num_stages:  # without any, that is said already
        yield key, f"the model has the stages {', '.join(map(str, range(num_stages)))}"
    elif cfg.TRAIN.USE_CHECKPOINT and len(stages) not in (0, num_stages):
        yield key, "TRAIN.USE_CHECKPOINT is True, which is all stages; give one of the two"


def _weights_match_classes(cfg: Config) -> Findings:
    weights, classes = len(cfg.TRAIN.CLASS_WEIGHTS), cfg.MODEL.NUM_CLASSES
    if weights and cfg.is_given("MODEL.NUM_CLASSES") and weights != classes:
        yield "TRAIN.CLASS_WEIGHTS", f"it must hold one number per class, and MODEL.NUM_CLASSES is {classes}"


def _mode_is_possible(cfg: Config) -> Findings:
    if cfg.EVAL_MODE and cfg.THROUGHPUT_MODE:
        yield "EVAL_MODE", "give either --eval or --throughput, not both"
    elif cfg.EVAL_MODE and not cfg.MODEL.RESUME:
        given = " (--pretrained only starts a training)" if cfg.MODEL.PRETRAINED else ""
        yield "EVAL_MODE", f"--eval needs the checkpoint to evaluate: give --resume PATH{given}"


def _optimizer_can_be_spread(cfg: Config) -> Findings:
    name = cfg.TRAIN.OPTIMIZER.NAME
    if cfg.DIST.STRATEGY != "ddp" and name.lower() not in ("adamw", "sgd"):
        yield (
            "TRAIN.OPTIMIZER.NAME",
            "it is not known to work on parameters that are spread over processes: take adamw or sgd, or"
            " DIST.STRATEGY ddp",
        )


def _compiled_can_be_spread(cfg: Config) -> Findings:
    if cfg.TRAIN.COMPILE == "model" and cfg.DIST.STRATEGY != "ddp":
        yield (
            "TRAIN.COMPILE",
            "one graph cannot be made of blocks that are spread over processes: take blocks, or DIST.STRATEGY ddp",
        )


_MODE = ("EVAL_MODE", "THROUGHPUT_MODE")

# Each rule, and the keys that it reads although what it finds may not name them.
_RULES: dict[Callable[[Config], Findings], tuple[str, ...]] = {
    _stages_agree: ("TYPE",),
    _heads_divide_channels: ("TYPE", "EMBED_DIM"),
    _channels_agree: ("TYPE",),
    _epochs_outlast_warmup: _MODE,
    _milestones_fit: (*_MODE, "NAME", "WARMUP_EPOCHS"),
    _groups_can_be_mixed: (*_MODE, "BATCH_SIZE", "GLOBAL_BATCH", "MIX_GROUP", "CUTMIX_MINMAX"),
    _ranges_rise: (),
    _mixing_ends_in_time: (*_MODE, "CUTMIX_MINMAX"),
    _order_is_possible: (),
    _sizes_progress: _MODE,
    _images_can_be_prepared: (),
    _data_can_be_opened: ("DATASET",),
    _freeze_is_known: ("TYPE", "DEPTHS"),
    _checkpointed_stages_exist: ("TYPE", "DEPTHS", "USE_CHECKPOINT"),
    _weights_match_classes: (),
    _compiled_can_be_spread: ("STRATEGY",),
    _optimizer_can_be_spread: ("STRATEGY", "NAME"),
    _mode_is_possible: (*_MODE, "RESUME"),
}
