"""AUG: how training images are varied and mixed."""

from typing import Literal

from swin_train.config.node import Section, opt


class Aug(Section):
    """How training images are varied and mixed."""

    CROP: Literal["auto", "resized", "shift"] = opt(
        "auto",
        "resized: a random part, resized; shift: pad by 4, crop; auto: shift where no side has more than 32"
        " pixels, else resized.",
    )
    SCALE: tuple[float, float] = opt((0.08, 1.0), "Smallest and largest area of a resized crop.", gt=0, le=1)
    RATIO: tuple[float, float] = opt(
        (3 / 4, 4 / 3), "Smallest and largest width / height of a resized crop.", gt=0
    )
    HFLIP: float = opt(0.5, "Probability of a horizontal flip.", ge=0, le=1)
    COLOR_JITTER: float = opt(
        0.4, "Strength of colour jitter, used only where AUTO_AUGMENT is none or 3a.", ge=0
    )
    AUTO_AUGMENT: str = opt(
        "rand-m9-mstd0.5-inc1",
        "Policy in timm's notation: rand-... (RandAugment), original, originalr, v0, v0r (AutoAugment), 3a"
        " (3-Augment); or ta_wide (TrivialAugment, torchvision's); none is no policy.",
    )
    REPEATS: int = opt(
        1,
        "Repeated augmentation: times that each image is shown in an epoch, in views of its own; an epoch has as"
        " many steps as before, so it shows that many times fewer images.",
        ge=1,
    )
    REPROB: float = opt(0.25, "Probability of erasing a random part.", ge=0, le=1)
    REMODE: Literal["pixel", "rand", "const"] = opt(
        "pixel", "Fill of an erased part: noise per pixel, one random colour, or zero."
    )
    RECOUNT: int = opt(1, "Parts to erase in an image that is erased.", ge=1)
    MIXUP: float = opt(0.8, "Alpha of mixup; 0 is off.", ge=0)
    CUTMIX: float = opt(1.0, "Alpha of CutMix; 0 is off.", ge=0)
    CUTMIX_MINMAX: tuple[float, float] | None = opt(
        None,
        "Smallest and largest side of the CutMix box, as a share of the image; null uses CUTMIX.",
        gt=0,
        le=1,
    )
    MIXUP_PROB: float = opt(1.0, "Probability that a group is mixed at all.", ge=0, le=1)
    MIXUP_SWITCH_PROB: float = opt(
        0.5, "Probability of CutMix rather than mixup where both are on.", ge=0, le=1
    )
    MIXUP_MODE: Literal["batch", "pair", "elem"] = opt(
        "batch", "What shares one draw: the group, a pair of images, or nothing."
    )
    MIX_GROUP: int = opt(
        0,
        "Images that are mixed among themselves; 0 is the micro-batch of the first launch (DATA.BATCH_SIZE,"
        " or the whole batch of a process where that is smaller), recorded with the run.",
        ge=0,
    )

    MIX_OFF_EPOCHS: int = opt(0, "Last epochs in which images are not mixed.", ge=0)

    @property
    def is_mixing(self) -> bool:
        """Whether images are mixed, so that targets are distributions over the classes."""
        return self.MIXUP > 0 or self.CUTMIX > 0 or self.CUTMIX_MINMAX is not None
