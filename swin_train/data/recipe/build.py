"""From the configuration to the recipes."""

from swin_train.config import Config
from swin_train.data.recipe.auto_augment import POLICIES, parse_auto_augment
from swin_train.data.recipe.color_jitter import ColorJitter
from swin_train.data.recipe.crop import ResizedCrop, ShiftCrop, is_shifted
from swin_train.data.recipe.erasing import RandomErasing
from swin_train.data.recipe.evaluation import EvalRecipe
from swin_train.data.recipe.rand_augment import RandAugment, parse_policy
from swin_train.data.recipe.three_augment import ThreeAugment
from swin_train.data.recipe.trivial_augment import TrivialAugment
from swin_train.data.recipe.view import FILTERS, Policy, Recipe


def build_recipe(cfg: Config) -> Recipe:
    """The training recipe.

    Raises:
        UserError: AUG.AUTO_AUGMENT names a policy that is not supported.
    """
    aug, size, filters = cfg.AUG, cfg.DATA.img_size, FILTERS[cfg.DATA.INTERPOLATION]
    return Recipe(
        size=size,
        crop=ShiftCrop(filters) if is_shifted(aug.CROP, size) else ResizedCrop(aug.SCALE, aug.RATIO, filters),
        hflip=aug.HFLIP,
        policy=_build_policy(cfg),
        erasing=RandomErasing(aug.REPROB, aug.REMODE, aug.RECOUNT) if aug.REPROB > 0 else None,
        schedule=tuple((epoch, (side, side)) for epoch, side in cfg.DATA.PROGRESSIVE),
    )


def build_eval_recipe(cfg: Config) -> EvalRecipe:
    """The evaluation transform."""
    # of "random": bilinear, as in the reference
    return EvalRecipe(cfg.DATA.img_size, cfg.TEST.CROP, FILTERS[cfg.DATA.INTERPOLATION][0])


def _build_policy(cfg: Config) -> Policy | None:
    text, filters = cfg.AUG.AUTO_AUGMENT, FILTERS[cfg.DATA.INTERPOLATION]
    jitter = ColorJitter(cfg.AUG.COLOR_JITTER) if cfg.AUG.COLOR_JITTER > 0 else None
    if text == "none":
        return jitter
    if text == "3a":
        return ThreeAugment(jitter)
    # the others replace the colour jitter, as in timm
    if text == "ta_wide":
        return TrivialAugment(filters)
    if text.split("-")[0] in POLICIES:
        return parse_auto_augment(text, filters)
    return RandAugment(parse_policy(text), filters)
