"""TEST: how a model is evaluated."""

from typing import Literal

from swin_train.config.node import Section, opt


class Test(Section):
    """How a model is evaluated."""

    CROP: bool = opt(
        True,
        "Resize until the image covers 256/224 of the input size, and crop the centre; false squashes the whole"
        " image.",
    )
    SEQUENTIAL: bool = opt(
        False, "Has no effect here: every image is counted exactly once, on any number of GPUs."
    )
    SHUFFLE: bool = opt(
        False, "Has no effect on the result: every image is counted exactly once, in any order."
    )
    WEIGHTS: Literal["raw", "ema"] = opt("raw", "Which weights to evaluate of a checkpoint that holds both.")
